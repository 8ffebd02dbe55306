"""A bucket and its queue that answer at once, in a process of their own: for benchmarks of those who ask.

Holds no bytes: only names, by their number. Speaks as much of the protocols of S3 and SQS as listing, looking up,
receiving and deleting need. `POST /hold/N` says how many objects there are, `POST /announce/FIRST/END` queues messages.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote_plus, unquote, urlsplit

PAGE = 1000
BUCKET = "bucket"
MODIFIED = "2026-01-01T00:00:00.000Z"


def name(number: int) -> str:
    return f"incoming/2024-cv-{number // PAGE:04}/{number:07}.wav"


def etag(number: int) -> str:
    return f"{number:032x}"


def _listing(inside: str) -> bytes:
    head = '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    return f"{head}<Name>{BUCKET}</Name>{inside}</ListBucketResult>".encode()


class Bucket(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.count = 0
        self.messages: dict[str, str] = {}
        self.out: set[str] = set()

    def page(self, start: int) -> bytes:
        end = min(start + PAGE, self.count)
        contents = "".join(
            f"<Contents><Key>{name(n)}</Key><LastModified>{MODIFIED}</LastModified><ETag>&quot;{etag(n)}&quot;</ETag>"
            f"<Size>{1_000_000 + n}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for n in range(start, end)
        )
        more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{end}</NextContinuationToken>"
        return _listing(contents + (more if end < self.count else "<IsTruncated>false</IsTruncated>"))

    def folders(self) -> bytes:
        return _listing(
            "".join(
                f"<CommonPrefixes><Prefix>{name(n).rpartition('/')[0]}/</Prefix></CommonPrefixes>"
                for n in range(0, self.count, PAGE)
            )
        )

    def announce(self, first: int, end: int) -> None:
        for number in range(first, end):
            about = {"bucket": {"name": BUCKET}, "object": {"key": quote_plus(name(number)), "size": 1}}
            body = {"Records": [{"eventName": "ObjectCreated:Put", "s3": about}]}
            self.messages[str(number)] = json.dumps(body)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Bucket

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        if "list-type" not in asked:
            # no object has bytes, so no matter has settings
            self._answer(b"<Error><Code>NoSuchKey</Code></Error>", "application/xml", 404)
        elif "delimiter" in asked:
            self._answer(self.server.folders(), "application/xml")
        else:
            self._answer(self.server.page(int(asked.get("continuation-token", ["0"])[0])), "application/xml")

    def do_HEAD(self) -> None:
        number = int(unquote(self.path).rpartition("/")[2].removesuffix(".wav"))
        self.send_response(200)
        self.send_header("ETag", f'"{etag(number)}"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("Content-Length", str(1_000_000 + number))
        self.end_headers()

    def do_POST(self) -> None:
        said = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        target = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        server, answer = self.server, {}
        if target == "ReceiveMessage":
            found = [each for each in server.messages if each not in server.out][:10]
            server.out.update(found)
            answer = {"Messages": [{"MessageId": n, "ReceiptHandle": n, "Body": server.messages[n]} for n in found]}
        elif target == "DeleteMessageBatch":
            entries = json.loads(said)["Entries"]
            for entry in entries:
                server.messages.pop(entry["ReceiptHandle"])
            answer = {"Successful": [{"Id": entry["Id"]} for entry in entries], "Failed": []}
        else:
            what, *numbers = self.path.strip("/").split("/")
            if what == "hold":
                server.count = int(numbers[0])
            else:
                server.announce(int(numbers[0]), int(numbers[1]))
        self._answer(json.dumps(answer).encode(), "application/x-amz-json-1.0")

    def _answer(self, body: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    served = Bucket()
    print(served.server_port, flush=True)
    try:
        served.serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)
