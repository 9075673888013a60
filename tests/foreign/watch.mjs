// Asks, changes and watches as a Node program would: over WebSockets with `graphql-ws`, and as server-sent
// events with `graphql-sse`. Reads {url, organization, endpoint, key, platform_key} as JSON from standard
// input; prints what it saw.
import { readFileSync } from "node:fs";
import { createClient as createEventSource } from "graphql-sse";
import { createClient } from "graphql-ws";
import WebSocket from "ws";

const { url, organization, endpoint, key, platform_key } = JSON.parse(readFileSync(0, "utf8"));

const WATCH = `subscription($organization: ID, $endpoint: ID!, $after: String) {
  deliveryChanged(filter: { endpointId: $endpoint }, after: $after, organizationId: $organization) {
    cursor gap change delivery { id status attemptCount event { id } } } }`;
const PUBLISH = `mutation($input: NewEventInput!) { publishEvent(input: $input) { result { id } userErrors { code } } }`;
const RENAME = `mutation($id: ID!, $name: String) {
  updateEndpoint(id: $id, input: { name: $name }) { result { name } userErrors { code } } }`;

const connect = (key) =>
  createClient({
    url: `${url.replace("http", "ws")}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: { Authorization: `Bearer ${key}` },
    retryAttempts: 0,
    lazyCloseTimeout: 1000, // what is asked one after the other goes over one connection
  });

/** The one answer of a query or a mutation. */
async function ask(client, query, variables) {
  const answers = [];
  for await (const answer of client.iterate({ query, variables })) answers.push(answer);
  if (answers.length !== 1 || answers[0].errors) throw new Error(`${query}: ${JSON.stringify(answers)}`);
  return answers[0].data;
}

/** What is seen until a delivery has settled. */
async function watch(client, variables) {
  const seen = [];
  for await (const { data, errors } of client.iterate({ query: WATCH, variables: { endpoint, ...variables } })) {
    if (!data) throw new Error(`watch: ${JSON.stringify(errors)}`);
    seen.push(data.deliveryChanged);
    if (data.deliveryChanged.change === "SETTLED") break;
  }
  return seen;
}

const publish = async (client, session) => {
  const type = "verification.session.succeeded";
  const input = { organizationId: organization, type, triggerType: "verification_session", triggerId: session, data: {} };
  return (await ask(client, PUBLISH, { input })).publishEvent.result.id;
};

const failure = (asked) => asked.then(() => null, (reason) => reason);

const [platform, own, stranger] = [platform_key, key, "nobody"].map(connect);
const headers = { Authorization: `Bearer ${key}` };
const source = createEventSource({ url: `${url}/graphql`, headers, retryAttempts: 0 });

const renamed = (await ask(own, RENAME, { id: endpoint, name: "watched" })).updateEndpoint.result.name;
const query = "query($id: ID!) { endpoint(id: $id) { name } }";
const read = (await ask(own, query, { id: endpoint })).endpoint.name;
const streamed = (await ask(source, query, { id: endpoint })).endpoint.name;

// One connection: what is asked for first is watched by the time that the event is published.
const watched = watch(platform, { organization });
const published = [await publish(platform, "vs_1")];
const seen = await watched;
const resumed = await watch(own, { after: seen[0].cursor });

const events = watch(source, { after: seen.at(-1).cursor });
published.push(await publish(platform, "vs_2"));
const heard = await events;

const [refused] = await failure(ask(own, "{ nothing }"));
const { code } = await failure(ask(stranger, "{ endpoints { nodes { id } } }"));
const clients = [platform, own, stranger, source];
await Promise.all(clients.map((client) => client.dispose()));
const names = [renamed, read, streamed];
console.log(JSON.stringify({ names, published, seen, resumed, heard, refused: refused.message, code }));
