"""gidgethub as a peer of benches/peers/run. Each line on standard input is a delivery and how many times to receive it; each line on
standard output says what the push held and how much processor time all of those took."""

import json
import sys
import time

from gidgethub import ValidationFailure
from gidgethub.sansio import Event

for line in sys.stdin:
    asked = json.loads(line)
    headers, secret = asked["headers"], asked["secret"]
    with open(asked["body"], "rb") as file:
        body = file.read()
    try:
        before = time.process_time_ns()
        for _ in range(asked["times"]):
            push = Event.from_http(headers, body, secret=secret).data
        nanos = time.process_time_ns() - before
        paths = sum(len(commit[kind]) for commit in push["commits"] for kind in ("added", "modified", "removed"))
        answer = {"seen": f"{push['after']} {paths}", "nanos": nanos}
    except ValidationFailure as error:
        answer = {"refused": str(error)}
    print(json.dumps(answer), flush=True)
