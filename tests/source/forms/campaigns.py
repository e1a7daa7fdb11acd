"""The campaigns of all files here: a letter is an id, which keeps a table of them readable."""

IDS = {
    "A": "cd-1f0c2ab-74ac-41cd-8e21-5d7b90a3c6f4",  # a group ends in `cd`: what follows is no second id
    "B": "cd-2b9d41e-0f3a-4c57-9a10-e2c84f7d6b05",
    "C": "cd-3e7a90c-d1b2-4f68-b3c5-70a9e1f2d846",
    "D": "cd-4c81f6d2-5a0e-4b93-8d7f-1e3c5a7b9d20",  # eight digits, as campaigns for messages have them
    "E": "cd-5d2e8b7-92c4-4d1a-a6e0-c4f8b2d6e031",
}
ACCOUNTS = {"a1": "65b1ee85b0c6d8e2f4234b86", "a2": "644e9b61138c7160307450fa"}
STREAMS = {
    "s1": "st-0c9d1e2f-3a4b-5c6d-8e7f-a0b1c2d3e4f5",
    "s2": "st-b7a6c5d4-e3f2-41a0-9b8c-7d6e5f4a3b2c",
}
HEADER = ("campaign_id", "campaign_type", "account_id", "stream_id", "priority", "name")
A, B, C, D, E = IDS.values()
ROWS = (
    (A, "voice", ACCOUNTS["a1"], STREAMS["s1"], 1, "Müller & Söhne"),
    (B, "sms", ACCOUNTS["a1"], STREAMS["s2"], None, 'He said "now", twice'),
    (C, "voice", ACCOUNTS["a2"], STREAMS["s1"], 3, "Café; crème"),
    (D, "sms", ACCOUNTS["a2"], STREAMS["s2"], 5, "two\nlines"),
    (E, "voice", ACCOUNTS["a1"], STREAMS["s1"], 2, "plain"),
)
