"""ClickHouse in a process of its own: each line of its input is a statement in JSON, each line of its output the answer.

An answer is a list with the rows as an Arrow file in base64, or text that says what went wrong.
"""

import base64
import json
import os
import sys

from chdb.session import Session

clickhouse = Session()
for line in sys.stdin:
    try:
        answer = [base64.b64encode(clickhouse.query(json.loads(line), "Arrow").bytes()).decode()]
    except Exception as error:
        answer = str(error)
    print(json.dumps(answer), flush=True)
# Its own end is not waited for: there it may crash.
os._exit(0)
