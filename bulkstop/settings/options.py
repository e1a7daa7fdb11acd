"""The types of all settings for type checkers: the value, or a text that is parsed as one."""

from collections.abc import Sequence
from datetime import datetime, time
from pathlib import PurePath
from typing import TypedDict

from bulkstop.model import ApiVersion, CampaignType, FailureCap, Limit, Order, Pace, WarningKind
from bulkstop.settings.parse import TransportName


class SettingsOptions(TypedDict, total=False):
    """The arguments of `Settings`."""

    host: str
    account_id: str | None
    stream_id: str | None
    iid: str | None
    targets: str | PurePath | None
    any_id: bool | str
    max_input_size: int | str | None
    encoding: str | None
    no_header: bool | str
    id_column: str | None
    column: Sequence[str] | str
    sheet: str | None
    type: CampaignType | str | None
    api: ApiVersion | str
    voice_path: str | None
    sms_path: str | None
    list_path: str | None
    status_path: str | None
    get_path: str | None
    schedule_path: str | None
    ca: str | PurePath | None
    cert: str | PurePath | None
    key: str | PurePath | None
    proxy: str | None
    proxy_password: str | None
    proxy_password_file: str | PurePath | None
    transport: TransportName | str | None
    timeout_s: float | str
    insecure_http: bool | str
    token: str | None
    token_file: str | PurePath | None
    token_command: str | None
    client_id: str | None
    client_secret: str | None
    client_secret_file: str | PurePath | None
    jwt_alg: str
    jwt_sub: str
    jti: bool | str
    quota: Sequence[Limit | str] | str
    quota_store: str | PurePath | None
    adaptive: bool | str
    pace: Pace | str
    order: Order | str
    protect: Sequence[str | PurePath] | str
    max_campaigns: int | str | None
    expect_accounts: int | str | None
    expect_warnings: Sequence[WarningKind | str] | str
    max_failures: FailureCap | float | str | None
    waves: str | None
    soak_s: float | str
    max_outage_s: float | str
    only_running: bool | str
    disable_schedule: bool | str
    finish_by: datetime | time | str | None
    tz: str | None
    concurrency: int | str
    attempts: int | str
    max_retry_after_s: float | str
    grace_s: float | str
    notify: Sequence[str] | str
    on_success: Sequence[str] | str
    on_failure: Sequence[str] | str
