"""How services say what they still take: headers as they are sent, and what they mean."""

from bulkstop.model import Allowance

DATE = "Sun, 29 Nov 2026 12:00:00 GMT"
UNIX_S = 1_795_953_600
"""The same time in seconds since 1970."""

FORMS: dict[str, tuple[tuple[str, ...], Allowance | None]] = {
    "draft-00": (
        ("RateLimit-Limit: 20, 20;w=5;comment=x, 1000;w=3600", "RateLimit-Remaining: 3", "RateLimit-Reset: 2"),
        Allowance(3, 2.0, 20, 5.0),
    ),
    "draft-06": (
        (
            "RateLimit-Limit: 20",
            "RateLimit-Remaining: 3",
            "RateLimit-Reset: 2",
            "RateLimit-Policy: 20;w=5, 1000;w=3600",
        ),
        Allowance(3, 2.0, 20, 5.0),
    ),
    "draft-06-no-limit": (
        ("RateLimit-Remaining: 3", "RateLimit-Reset: 2", "RateLimit-Policy: 20;w=5"),
        Allowance(3, 2.0, 20, 5.0),
    ),
    "draft-07": (
        ("RateLimit: limit=20, remaining=3, reset=2", "RateLimit-Policy: 20;w=5"),
        Allowance(3, 2.0, 20, 5.0),
    ),
    "draft-07-bare": (("RateLimit: limit=20,remaining=3,reset=2",), Allowance(3, 2.0, 20)),
    "draft-08": (
        ('RateLimit: "default";r=3;t=2', 'RateLimit-Policy: "default";q=20;w=5'),
        Allowance(3, 2.0, 20, 5.0),
    ),
    "express": (
        (
            'RateLimit-Policy: "20-in-5sec"; q=20; w=5; pk=:NzE2MmM5ZDY1YjI1:',
            'RateLimit: "20-in-5sec"; r=3; t=2',
        ),
        Allowance(3, 2.0, 20, 5.0),
    ),
    "several": (
        (
            'RateLimit: "burst";r=3;t=2, "daily";r=900;t=7000',
            'RateLimit-Policy: "daily";q=1000;w=86400,"burst";q=20;w=5',
        ),
        Allowance(3, 2.0, 20, 5.0),
    ),
    "several-used-up": (
        ('RateLimit: "burst";r=0;t=2, "daily";r=0;t=7000',),
        Allowance(0, 7000.0),
    ),
    "several-lines": (
        ('RateLimit: "burst";r=3;t=2', 'RateLimit: "daily";r=900;t=7000'),
        Allowance(3, 2.0),
    ),
    "comma-in-a-name": (('RateLimit: "a, b;r=0";r=3;t=2',), Allowance(3, 2.0)),
    "no-time": (('RateLimit: "default";r=3',), Allowance(3)),
    "bytes": (('RateLimit: "b";r=0;t=2', 'RateLimit-Policy: "b";q=65535;qu="content-bytes";w=10'), None),
    "requests": (
        ('RateLimit: "b";r=1;t=2', 'RateLimit-Policy: "b";q=20;qu="requests";w=5'),
        Allowance(1, 2.0, 20, 5.0),
    ),
    "policy": (("RateLimit-Policy: 20;w=5, 1000;w=3600",), Allowance(None, None, 1000, 3600.0)),
    "named-policy": (('RateLimit-Policy: "default";q=20;w=5',), Allowance(None, None, 20, 5.0)),
    "x": (
        ("X-RateLimit-Limit: 20", "X-RateLimit-Remaining: 3", "X-RateLimit-Reset: 2"),
        Allowance(3, 2.0, 20),
    ),
    "envoy": (
        ("x-ratelimit-limit: 20, 20;w=5;name=a", "x-ratelimit-remaining: 3", "x-ratelimit-reset: 2"),
        Allowance(3, 2.0, 20, 5.0),
    ),
    "github": (
        (
            "x-ratelimit-limit: 5000",
            "x-ratelimit-remaining: 4987",
            f"x-ratelimit-reset: {UNIX_S + 1800}",
            "x-ratelimit-used: 13",
            "x-ratelimit-resource: core",
        ),
        Allowance(4987, 1800.0, 5000),
    ),
    "x-com": (
        ("x-rate-limit-limit: 20", "x-rate-limit-remaining: 0", f"x-rate-limit-reset: {UNIX_S + 2}"),
        Allowance(0, 2.0, 20),
    ),
    "milliseconds": (
        ("X-RateLimit-Remaining: 3", f"X-RateLimit-Reset: {UNIX_S}250"),
        Allowance(3, 0.25),
    ),
    "date": (("X-Rate-Limit-Remaining: 3", "X-Rate-Limit-Reset: Sun, 29 Nov 2026 12:00:07 GMT"), Allowance(3, 7.0)),
    "iso-date": (("X-RateLimit-Remaining: 3", "X-RateLimit-Reset: 2026-11-29T12:00:07Z"), Allowance(3, 7.0)),
    "gitlab": (
        (
            "RateLimit-Limit: 20",
            "RateLimit-Observed: 17",
            "RateLimit-Remaining: 3",
            f"RateLimit-Reset: {UNIX_S + 2}",
            "RateLimit-ResetTime: Sun, 29 Nov 2026 12:00:02 GMT",
        ),
        Allowance(3, 2.0, 20),
    ),
    "kong": (
        (
            "X-RateLimit-Limit-Minute: 60",
            "X-RateLimit-Remaining-Minute: 3",
            "X-RateLimit-Limit-Hour: 1800",
            "X-RateLimit-Remaining-Hour: 1203",
            "RateLimit-Limit: 60",
            "RateLimit-Remaining: 3",
            "RateLimit-Reset: 41",
        ),
        Allowance(3, 41.0, 60, 60.0),
    ),
    "kong-second": (("X-RateLimit-Limit-Second: 5", "X-RateLimit-Remaining-Second: 4"), Allowance(4, None, 5, 1.0)),
    "spring": (
        (
            "X-RateLimit-Remaining: 0",
            "X-RateLimit-Requested-Tokens: 1",
            "X-RateLimit-Burst-Capacity: 10",
            "X-RateLimit-Replenish-Rate: 2",
        ),
        Allowance(0, 1.0, 10, 5.0),
    ),
    "spring-dear": (
        (
            "X-RateLimit-Remaining: 59",
            "X-RateLimit-Requested-Tokens: 60",
            "X-RateLimit-Burst-Capacity: 120",
            "X-RateLimit-Replenish-Rate: 1",
        ),
        Allowance(0, 60.0, 2, 120.0),
    ),
    "amazon": (("x-amzn-RateLimit-Limit: 0.5",), Allowance(None, None, 1, 2.0)),
    "azure": (("ratelimit-remaining: 3", "ratelimit-limit: 20"), Allowance(3, None, 20)),
    "over": (("X-RateLimit-Remaining: 0", f"X-RateLimit-Reset: {UNIX_S - 3}"), Allowance(0, 0.0)),
    "negative": (("X-RateLimit-Remaining: -1", "X-RateLimit-Limit: -1", "X-RateLimit-Reset: -5"), None),
    "no-number": (("RateLimit: limit=NaN, remaining=inf, reset=1e9",), None),
    "huge": (("X-RateLimit-Remaining: 10000000000", "X-RateLimit-Limit: 99999999999999999999"), None),
    "huge-time": (("X-RateLimit-Remaining: 0", "X-RateLimit-Reset: 99999999"), Allowance(0)),
    "no-ascii": (("X-RateLimit-Remaining: ٣",), None),
    "many": (("RateLimit-Policy: " + ", ".join(f'"p{number}";q=1;w=9' for number in range(1000)),), None),
    "limit-alone": (("X-RateLimit-Limit: 60",), None),
    "other": (("X-Limit: 3", "X-RateLimit-Remaining-Tokens: 3", "X-Rate-Limit-Policy: gold", "Limit: 4"), None),
}
