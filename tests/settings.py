"""What every setting may be: a text, and the value that it means."""

from typing import Any

from bulkstop.model import ApiVersion, CampaignType, FailureCap, Limit, Order, Pace, WarningKind
from bulkstop.settings.parse import TransportName

FIRM: dict[str, tuple[str, Any]] = {
    "host": ("https://api.example", "https://api.example"),
    "account_id": ("a1", "a1"),
    "stream_id": ("st-1", "st-1"),
    "iid": ("st-2", "st-2"),
    "any_id": ("true", True),
    "max_input_size": ("4GB", 4 * 10**9),
    "type": ("SMS", CampaignType.SMS),
    "api": ("V1", ApiVersion.V1),
    "voice_path": ("/v/{campaignId}", "/v/{campaignId}"),
    "sms_path": ("/s/{campaignId}", "/s/{campaignId}"),
    "list_path": ("/l/{iid}", "/l/{iid}"),
    "status_path": ("/t/{campaignId}", "/t/{campaignId}"),
    "get_path": ("/g/{campaignId}", "/g/{campaignId}"),
    "schedule_path": ("/d/{streamId}", "/d/{streamId}"),
    "ca": ("ca.pem", "ca.pem"),
    "cert": ("cert.pem", "cert.pem"),
    "key": ("cert.key", "cert.key"),
    "proxy": ("http://proxy:3128", "http://proxy:3128"),
    "proxy_password": ("p1", "p1"),
    "proxy_password_file": ("password", "password"),
    "transport": ("WIRE", TransportName.WIRE),
    "timeout_s": ("500ms", 0.5),
    "insecure_http": ("true", True),
    "token": ("t1", "t1"),
    "token_file": ("token", "token"),
    "token_command": ("print-token", "print-token"),
    "client_id": ("cs-1", "cs-1"),
    "client_secret": ("s1", "s1"),
    "client_secret_file": ("secret", "secret"),
    "jwt_alg": ("rs512", "RS512"),
    "jwt_sub": ("me", "me"),
    "jti": ("true", True),
    "quota": ("5/2s", (Limit(5, 2.0),)),
    "quota_store": ("memory", "memory"),
    "adaptive": ("true", True),
    "pace": ("even", Pace.EVEN),
    "order": ("priority", Order.PRIORITY),
    "protect": ("keep.txt", ("keep.txt",)),
    "max_campaigns": ("500", 500),
    "expect_accounts": ("2", 2),
    "expect_warnings": ("odd_ids", (WarningKind.ODD_IDS,)),
    "max_failures": ("2.5%", FailureCap(share=0.025)),
    "waves": ("1,10%,100%", "1,10%,100%"),
    "soak_s": ("1m", 60.0),
    "max_outage_s": ("10m", 600.0),
    "only_running": ("true", True),
    "disable_schedule": ("true", True),
    "finish_by": ("18:00", "18:00"),
    "tz": ("Europe/Berlin", "Europe/Berlin"),
    "concurrency": ("7", 7),
    "attempts": ("2", 2),
    "max_retry_after_s": ("2m", 120.0),
    "grace_s": ("1m", 60.0),
}
"""A text for every setting, and the value it means."""

BESIDE: dict[str, dict[str, str]] = {
    "key": {"cert": "cert.pem"},
    "soak_s": {"waves": "1,100%"},
    "client_secret": {"client_id": "cs-1"},
    "client_secret_file": {"client_id": "cs-1"},
    "jti": {"client_id": "cs-1", "client_secret_file": "secret"},
}
"""What a setting needs beside it to make sense."""
