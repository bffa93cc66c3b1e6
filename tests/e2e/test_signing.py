"""Requests are signed for the objects of a table and for nothing else, whatever is made of a signature; on real stores.

The stores themselves are asked what a signature does: what one of them overlooks, the catalog must not sign.
"""

import base64
import hashlib
from urllib.parse import quote

import pytest
import requests

from conftest import name_of
from delegating import Table, says_the_secret


@pytest.fixture
def server(delegating_server):
    return delegating_server


@pytest.fixture
def namespace(request, server):
    return server.namespace(name_of(request))


def deletes(*keys):
    """The body of a request that deletes several objects."""
    return f"<Delete>{''.join(f'<Object><Key>{key}</Key></Object>' for key in keys)}</Delete>".encode()


def md5_of(body):
    return {"Content-MD5": base64.b64encode(hashlib.md5(body).digest()).decode()}


def test_signed_requests_do_what_a_table_needs(server, namespace):
    table = Table(server, namespace, "t", "signed", asked="remote-signing")
    assert table.config["s3.remote-signing-enabled"] == "true" and "s3.access-key-id" not in table.config
    assert table.config["s3.signer.endpoint"].endswith(f"{table.path}/sign".replace("_", "%5F"))
    assert table.config["s3.endpoint"] == server.store.endpoint and table.config["client.region"] == "us-east-1"
    send = lambda *request, **more: server.send(table, *request, **more)
    for name in ("x", "a%20b%3D%2525/%C3%A9%2Bx"):
        uri = table.uri(f"/data/{name}")
        put = send("PUT", uri, b"mine", headers={"Content-Type": "text/plain", "If-None-Match": "*"})
        assert put.status_code == 200, put.text
        assert send("GET", uri).content == b"mine" and send("HEAD", uri).headers["content-length"] == "4"
        assert send("GET", uri, headers={"Range": "bytes=1-2"}).content == b"in"
        assert send("GET", uri, right="read").content == b"mine"
    copy = send("PUT", table.uri("/copy"), headers={"x-amz-copy-source": f"{table.bucket}/{table.folder}/data/x"})
    assert copy.status_code == 200 and send("GET", table.uri("/copy")).content == b"mine", copy.text

    bucket = f"{server.store.endpoint}/{table.bucket}"
    listing = f"{bucket}?list-type=2&prefix={quote(table.folder, safe='')}%2F&max-keys=100"
    shown = send("GET", listing, right="read")
    assert shown.status_code == 200 and f"<Key>{table.folder}/data/x</Key>" in shown.text, shown.text

    start = send("POST", table.uri("/data/parts?uploads="))
    upload = start.text.split("<UploadId>")[1].split("<")[0]
    part = send("PUT", table.uri(f"/data/parts?partNumber=1&uploadId={upload}"), b"p" * 1_000)
    end = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{part.headers['etag']}</ETag></Part></CompleteMultipartUpload>"
    end = send("POST", table.uri(f"/data/parts?uploadId={upload}"), end.encode())
    assert end.status_code == 200 and send("GET", table.uri("/data/parts")).content == b"p" * 1_000, end.text
    upload = send("POST", table.uri("/data/no?uploads")).text.split("<UploadId>")[1].split("<")[0]
    assert send("DELETE", table.uri(f"/data/no?uploadId={upload}")).status_code == 204

    assert send("DELETE", table.uri("/copy")).status_code == 204
    body = deletes(f"{table.folder}/data/x", f"{table.folder}/data/parts")
    gone = send("POST", f"{bucket}?delete=", body, headers=md5_of(body), shown=True)
    assert gone.status_code == 200 and "<Error>" not in gone.text, gone.text
    left = [key.removeprefix(table.folder) for key in server.store.keys(f"{table.folder}/")]
    assert [key for key in left if "metadata" not in key] == ["/data/a b=%25/é+x"]


def test_nothing_beyond_the_table_is_signed(server, namespace):
    table, other = (Table(server, namespace, name, "signed", asked="remote-signing") for name in ("orders", "orders2"))
    folder, theirs, host = table.folder, f"{other.folder}/data/x", server.store.endpoint.removeprefix("http://")
    server.store.client().put_object(Bucket=table.bucket, Key=theirs, Body=b"theirs")
    bucket, mine, parent = f"http://{host}/{table.bucket}", table.uri("/x"), folder.rsplit("/", 1)[0]
    within = "list-type=2&prefix=" + quote(f"{folder}/", safe="")
    refused = lambda method, uri, headers=None, body=None: server.sign(table, method, uri, headers, body, wanted=403)

    for path in [
        f"/{theirs}", f"/{folder}x", f"/{folder}", f"/{folder}/", f"/{parent}/x", "/x", f"/{folder}/../orders2/data/x",
        f"/{folder}/%2e%2e/orders2/data/x", f"/{folder}%2F..%2Forders2/data/x", f"/{folder}/./x", f"/{folder}//x",
        f"/{folder}%00/x", f"/%2F{folder}/x", f"//{folder}/x",
    ]:
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            refused(method, bucket + path)
        refused("POST", f"{bucket}{path}?uploads")
        refused("PUT", f"{bucket}{path}?partNumber=1&uploadId=u")
    for uri in [
        f"http://{host}/warehouse/{folder}/x", f"http://store.example/{table.bucket}/{folder}/x", f"https://{host}/{table.bucket}/{folder}/x",
        f"http://{host}@store.example/{table.bucket}/{folder}/x", f"http://{host}.store.example/{table.bucket}/{folder}/x",
        f"http://{host}/{table.bucket}\\..\\{folder}/x", f"{mine}#?x", f"{mine} x",
    ]:
        server.sign(table, "GET", uri, wanted=403)
    for query in [
        "", "?list-type=2", "?prefix=", f"?prefix={quote(folder, safe='')}", f"?prefix={quote(parent, safe='')}%2F",
        f"?prefix={quote(other.folder, safe='')}%2F", f"?{within}&prefix=", f"?prefix=&{within}", f"?{within}..%2Forders2%2F",
        f"?{within}&versions", "?uploads", "?policy", "?location", "?acl",
    ]:
        refused("GET", bucket + query)
    for method, query in [
        ("PUT", ""), ("DELETE", ""), ("PUT", "?policy"), ("POST", "?uploads"), ("PUT", "?lifecycle"), ("POST", ""),
    ]:
        refused(method, bucket + query)
    for method, query in [
        ("PUT", "?acl"), ("GET", "?acl"), ("PUT", "?tagging"), ("POST", "?restore"), ("POST", "?select&select-type=2"),
        ("PUT", "?partNumber=1"), ("PUT", "?uploadId=u&acl"), ("GET", "?response-content-type=text/html"), ("TRACE", ""),
        ("GET", "?X-Amz-Signature=x"), ("POST", ""),
    ]:
        refused(method, mine + query)
    for source in [
        f"{table.bucket}/{theirs}", f"/{table.bucket}/{theirs}", quote(f"/{table.bucket}/{theirs}", safe=""), f"{table.bucket}/{folder}/../orders2/data/x",
        f"{table.bucket}/{folder}%2F..%2Forders2/data/x", f"warehouse/{folder}/x", f"{table.bucket}/{theirs}?versionId=1", "",
    ]:
        for name in ("x-amz-copy-source", "X-Amz-Copy-Source"):
            refused("PUT", mine, {name: source})
        refused("PUT", f"{mine}?partNumber=1&uploadId=u", {"x-amz-copy-source": source})
    refused("PUT", mine, {"x-amz-copy-source": [f"{table.bucket}/{folder}/y", f"{table.bucket}/{theirs}"]})
    for headers in [
        {"x-amz-copy-source": f"{table.bucket}/{folder}/y", "X-AMZ-COPY-SOURCE": f"{table.bucket}/{theirs}"},
        {"x-amz-acl": "public-read"}, {"x-amz-grant-read": "uri=all"}, {"x-amz-website-redirect-location": "/"},
    ]:
        refused("PUT", mine, headers)
    # What would be two headers on the way is not taken for one.
    answer = requests.post(
        f"{server.catalog_url}/v1/signed/{table.path}/sign", timeout=60, headers={"Authorization": f"Bearer {server.secrets['write']}"},
        json={"method": "PUT", "uri": mine, "region": "us-east-1", "headers": {"a": [f"b\r\nx-amz-copy-source: {table.bucket}/{theirs}"]}},
    )
    assert answer.status_code in (400, 403) and not says_the_secret(answer), answer.text

    inside = f"{folder}/x"
    for body in [
        None, "", "x", "<Delete/>", deletes(theirs).decode(), deletes(inside, theirs).decode(), deletes(inside, f"{folder}/../orders2/data/x").decode(),
        f"<Delete><Object><Key>{inside}</Key><Key>{theirs}</Key></Object></Delete>", f"<Delete><Object><Key>{inside}</Key></Object></Delete><Delete/>",
        deletes(inside).decode() + deletes(theirs).decode(), deletes(inside).decode().replace("Delete>", "Other>"),
        f"<Delete><Object><Key>{folder}/<![CDATA[../orders2/data/x]]></Key></Object></Delete>",
        f"<Delete><Object><Key>{folder}/&#46;&#46;/orders2/data/x</Key></Object></Delete>",
        f'<!DOCTYPE Delete [<!ENTITY o "{theirs}">]><Delete><Object><Key>&o;</Key></Object></Delete>',
    ]:
        refused("POST", f"{bucket}?delete", body=body)
    assert server.store.read(theirs) == b"theirs"


def send_as_signed(method, uri, signed, body=b"", **more):
    """A request with the headers of a signature, whatever it was for, and with others."""
    headers = {**{name: values[0] for name, values in signed["headers"].items()}, **more}
    return requests.request(method, uri, headers=headers, data=body, timeout=60)


def two_tables_with_an_object(server, namespace):
    tables = [Table(server, namespace, name, "signed", asked="remote-signing") for name in ("orders", "orders2")]
    for one in tables:
        server.store.client().put_object(Bucket=one.bucket, Key=f"{one.folder}/data/x", Body=b"kept")
    return tables


def test_a_signature_holds_for_what_it_was_asked_for_alone(server, namespace):
    table, other = two_tables_with_an_object(server, namespace)
    signed = server.sign(table, "PUT", table.uri("/data/y"), {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
    assert send_as_signed("PUT", other.uri("/data/x"), signed, b"broken").status_code == 403
    assert send_as_signed("DELETE", table.uri("/data/y"), signed).status_code == 403
    signed = server.sign(table, "GET", table.uri("/data/x"))
    assert send_as_signed("GET", table.uri("/data/x"), signed).content == b"kept"
    assert send_as_signed("GET", other.uri("/data/x"), signed).status_code == 403
    listing = f"{server.store.endpoint}/{table.bucket}?list-type=2&prefix="
    signed = server.sign(table, "GET", f"{listing}{quote(table.folder, safe='')}%2F")
    assert send_as_signed("GET", f"{listing}{quote(other.folder, safe='')}%2F", signed).status_code == 403
    assert [server.store.read(f"{one.folder}/data/x") for one in (table, other)] == [b"kept"] * 2


def test_a_signature_for_a_put_copies_nothing(server, namespace):
    table, other = two_tables_with_an_object(server, namespace)
    start = server.send(table, "POST", table.uri("/data/parts?uploads"))
    upload = start.text.split("<UploadId>")[1].split("<")[0]
    for rest in ("/data/y", f"/data/parts?partNumber=1&uploadId={upload}"):
        signed = server.sign(table, "PUT", table.uri(rest), {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
        copied = send_as_signed("PUT", table.uri(rest), signed, **{"x-amz-copy-source": f"{table.bucket}/{other.folder}/data/x"})
        assert "CopyObjectResult" not in copied.text and "CopyPartResult" not in copied.text, copied.text
    assert b"kept" not in server.send(table, "GET", table.uri("/data/y")).content


def test_a_signature_for_deleting_several_objects_deletes_those_and_no_others(server, namespace):
    table, other = two_tables_with_an_object(server, namespace)
    uri = f"{server.store.endpoint}/{table.bucket}?delete"
    shown, sent = deletes(f"{table.folder}/data/y"), deletes(f"{other.folder}/data/x")
    for said in ("UNSIGNED-PAYLOAD", hashlib.sha256(sent).hexdigest()):
        for declared in (sent, shown):
            # Whoever says that the body is not signed, or is another, has the one that is shown signed all the same.
            body = {"method": "POST", "uri": uri, "region": "us-east-1", "headers": {"x-amz-content-sha256": [said]}, "body": shown.decode()}
            signed = requests.post(
                f"{server.catalog_url}/v1/signed/{table.path}/sign", json=body, timeout=60,
                headers={"Authorization": f"Bearer {server.secrets['write']}"},
            )
            # A catalog may refuse what its store would not hold a client to.
            if signed.status_code == 200:
                answer = send_as_signed("POST", uri, signed.json(), sent, **md5_of(declared))
                assert server.store.keys(f"{other.folder}/data/") == [f"{other.folder}/data/x"], answer.text


def test_a_reader_gets_no_signature_for_a_change(server, namespace):
    table = Table(server, namespace, "t", "signed", asked="remote-signing")
    refused = lambda *request: server.sign(table, *request, right="read", wanted=403)
    for method, rest in [("PUT", "/x"), ("DELETE", "/x"), ("POST", "/x?uploads"), ("PUT", "/x?partNumber=1&uploadId=u")]:
        refused(method, table.uri(rest))
    bucket = f"{server.store.endpoint}/{table.bucket}"
    refused("POST", f"{bucket}?delete", {}, deletes(f"{table.folder}/x").decode())
    for method in ("GET", "HEAD"):
        server.sign(table, method, table.uri("/x"), right="read")
    server.ask("POST", f"namespaces/{namespace}/tables/none/sign", "signed", wanted=404, json={
        "method": "GET", "uri": table.uri("/x"), "region": "us-east-1", "headers": {},
    })
