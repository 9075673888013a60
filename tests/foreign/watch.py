"""Asks, changes and watches as a Python program would, with gql: over WebSockets by both of its libraries, and HTTP.

Reads {url, organization, endpoint, key, platform_key} as JSON from standard input; prints what it saw.
"""

import asyncio
import json
import sys

from gql import Client, gql
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.aiohttp_websockets import AIOHTTPWebsocketsTransport
from gql.transport.exceptions import TransportError, TransportQueryError
from gql.transport.websockets import WebsocketsTransport

WATCH = """subscription($organization: ID, $endpoint: ID!, $after: String) {
  deliveryChanged(filter: { endpointId: $endpoint }, after: $after, organizationId: $organization) {
    cursor gap change delivery { id status attemptCount event { id } } } }"""
PUBLISH = "mutation($input: NewEventInput!) { publishEvent(input: $input) { result { id } userErrors { code } } }"
RENAME = """mutation($id: ID!, $name: String) {
  updateEndpoint(id: $id, input: { name: $name }) { result { name } userErrors { code } } }"""
READ = "query($id: ID!) { endpoint(id: $id) { name } }"
# So old that nothing leads on from it: a gap is seen at once, and then whatever comes.
LONG_AGO = "1-1-1"
# Offering two protocols, gql looks for the answer in a header with capitals only, and speaks the older one.
SPEAKS = {"subprotocols": ["graphql-transport-ws"]}

given = json.load(sys.stdin)
organization, endpoint = given["organization"], given["endpoint"]
http = given["url"] + "/graphql"
socket = http.replace("http", "ws", 1)


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


async def ask(session, document, **variables):
    request = gql(document)
    request.variable_values = variables
    return await session.execute(request)


async def watch(session, **variables):
    """What is seen until a delivery has settled."""
    request = gql(WATCH)
    request.variable_values = {"endpoint": endpoint, **variables}
    async for item in session.subscribe(request):
        yield item["deliveryChanged"]
        if item["deliveryChanged"]["change"] == "SETTLED":
            return


async def publish(session, name):
    event = {
        "organizationId": organization,
        "type": "verification.session.succeeded",
        "triggerType": "verification_session",
        "triggerId": name,
        "data": {},
    }
    return (await ask(session, PUBLISH, input=event))["publishEvent"]["result"]["id"]


async def main():
    async with (
        Client(transport=WebsocketsTransport(socket, init_payload=bearer(given["platform_key"]), **SPEAKS), fetch_schema_from_transport=True) as platform,
        Client(transport=AIOHTTPWebsocketsTransport(socket, headers=bearer(given["key"]), **SPEAKS), fetch_schema_from_transport=True) as own,
        Client(transport=AIOHTTPTransport(http, headers=bearer(given["key"]))) as poster,
    ):
        renamed = await ask(own, RENAME, id=endpoint, name="watched")
        names = [renamed["updateEndpoint"]["result"]["name"]]
        names += [(await ask(session, READ, id=endpoint))["endpoint"]["name"] for session in (own, poster)]

        watching = watch(platform, organization=organization, after=LONG_AGO)
        gap = await anext(watching)
        published = await publish(platform, "vs_1")
        seen = [item async for item in watching]
        resumed = [item async for item in watch(own, after=seen[0]["cursor"])]

        try:
            await ask(own, RENAME, id=endpoint, name=7)
        except TransportQueryError as error:
            refused = error.errors[0]["message"]
    try:
        async with Client(transport=WebsocketsTransport(socket, init_payload=bearer("nobody"), **SPEAKS)):
            code = None
    except TransportError as error:
        code = error.__cause__.rcvd.code
    seen = {"gap": gap, "seen": seen, "resumed": resumed}
    print(json.dumps({"names": names, "published": [published], **seen, "refused": refused, "code": code}))


asyncio.run(main())
