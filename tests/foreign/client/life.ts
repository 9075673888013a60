// The life of an endpoint through the typed client: life.js BASE_URL API_KEY [TARGET_URL]
// Prints "ok", or one line that says what was different and exits 1.
import { deepStrictEqual } from "node:assert";
import { generateKeyPairSync } from "node:crypto";
import createClient from "openapi-fetch";
import type { paths } from "./api.js";

// Nobody listens on the discard port: what is sent there fails at once.
const [baseUrl = "", apiKey = "", target = "http://127.0.0.1:9/life"] = process.argv.slice(2);
const api = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${apiKey}` } });

const ENDPOINTS = "/v1/webhooks/endpoints";
const ENDPOINT = "/v1/webhooks/endpoints/{endpoint_id}";
const KEYS = "/v1/webhooks/endpoints/{endpoint_id}/keys";
const DELIVERIES = "/v1/webhooks/deliveries";
const EVENTS = "/v1/webhooks/events";

type Answer = { data?: unknown; error?: unknown; response: Response };

/** `data` of a success with the expected status. */
function ok<T>(what: string, answer: Answer & { data?: { data: T } }, status = 200): T {
  const { data, error, response } = answer;
  if (data === undefined) throw new Error(`${what}: ${response.status} ${JSON.stringify(error)}`);
  same(`${what}: status`, response.status, status);
  same<unknown>(`${what}: error`, (data as { error?: unknown }).error, null);
  return data.data;
}

function refused(what: string, answer: Answer & { error?: { error: { code: string } } }, status: number, code: string) {
  same(`${what}: status`, answer.response.status, status);
  same(`${what}: code`, answer.error?.error.code, code);
}

function same<T>(what: string, seen: T, expected: T) {
  try {
    deepStrictEqual(seen, expected);
  } catch {
    throw new Error(`${what}: ${JSON.stringify(seen)} instead of ${JSON.stringify(expected)}`);
  }
}

function holds(what: string, truth: boolean): asserts truth {
  if (!truth) throw new Error(what);
}

async function create(name: string) {
  const made = ok("create", await api.POST(ENDPOINTS, { body: { url: target, name } }));
  const sent = ["succeeded", "failed", "expired", "cancelled"].map((end) => `verification.session.${end}`);
  same<string[]>("default subscription", [...made.endpoint.subscribed_event_types].sort(), sent.sort());
  same("name", made.endpoint.name, name);
  same("labels", made.endpoint.labels, []);
  same("enabled", made.endpoint.enabled, true);
  same("disabled_at", made.endpoint.disabled_at, null);
  same("length of the secret", made.signing_secret.length, 38);
  holds("the secret does not begin with whsec_", made.signing_secret.startsWith("whsec_"));
  return made;
}

async function listed(): Promise<string[]> {
  const ids: string[] = [];
  let cursor: string | null = null;
  do {
    const query: { limit: number; starting_after?: string } = { limit: 1 };
    if (cursor !== null) query.starting_after = cursor;
    const answer = await api.GET(ENDPOINTS, { params: { query } });
    const page = ok("list", answer);
    const pagination = answer.data?.pagination;
    holds("a list without pagination", pagination !== undefined);
    same("limit of the page", pagination.limit, 1);
    holds("a page longer than its limit", page.length <= 1);
    same("has_more", pagination.has_more, pagination.next_cursor !== null);
    ids.push(...page.map((endpoint) => endpoint.id));
    cursor = pagination.next_cursor ?? null;
  } while (cursor !== null);
  same("ids that come twice in the list", new Set(ids).size, ids.length);
  return ids;
}

async function life() {
  const first = await create("first");
  const second = await create("second");
  const path = { endpoint_id: first.endpoint.id };

  same("get", ok("get", await api.GET(ENDPOINT, { params: { path } })), first.endpoint);
  const ids = await listed();
  holds("an endpoint is missing in the list", ids.includes(path.endpoint_id) && ids.includes(second.endpoint.id));

  const body = { name: " renamed ", labels: ["one", "two"] };
  const renamed = ok("patch", await api.PATCH(ENDPOINT, { params: { path }, body }));
  same("changed name", renamed.name, "renamed");
  same("changed labels", renamed.labels, ["one", "two"]);
  same("unchanged url", renamed.url, target);
  const nameless = ok("patch", await api.PATCH(ENDPOINT, { params: { path }, body: { name: null } }));
  same("cleared name", nameless.name, null);
  same("labels after the name was cleared", nameless.labels, ["one", "two"]);

  await keys(path);

  const reveal = "/v1/webhooks/endpoints/{endpoint_id}/signing-secret/reveal";
  const rotate = "/v1/webhooks/endpoints/{endpoint_id}/signing-secret/rotate";
  const revealed = ok("reveal", await api.POST(reveal, { params: { path } }));
  same("revealed", revealed, { endpoint_id: path.endpoint_id, signing_secret: first.signing_secret });
  const rotated = ok("rotate", await api.POST(rotate, { params: { path } }));
  holds("rotation kept the secret", rotated.signing_secret !== first.signing_secret);
  same("revealed after rotation", ok("reveal", await api.POST(reveal, { params: { path } })), rotated);

  await delivery(path);

  for (const endpoint_id of [path.endpoint_id, second.endpoint.id]) {
    const deleted = ok("delete", await api.DELETE(ENDPOINT, { params: { path: { endpoint_id } } }));
    same<unknown>("deleted", deleted, { message: "Webhook endpoint deleted.", status: "success" });
  }
  refused("get after delete", await api.GET(ENDPOINT, { params: { path } }), 404, "NOT_FOUND");
  refused("second delete", await api.DELETE(ENDPOINT, { params: { path } }), 404, "NOT_FOUND");
  holds("a deleted endpoint is listed", !(await listed()).includes(path.endpoint_id));
}

async function keys(path: { endpoint_id: string }) {
  const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const { n = "", e = "" } = publicKey.export({ format: "jwk" });
  const body = { key_id: "life", algorithm: "RSA-OAEP-256", key_type: "RSA", jwk: { kty: "RSA", n, e } } as const;
  const key = ok("create key", await api.POST(KEYS, { params: { path }, body }));
  same("key", [key.webhook_endpoint_id, key.key_id, key.is_active], [path.endpoint_id, "life", true]);
  same("modulus", key.jwk.n, n);
  same("keys", ok("list keys", await api.GET(KEYS, { params: { path } })), [key]);

  const params = { path: { key_id: key.id } };
  const off = ok("deactivate", await api.POST("/v1/webhooks/keys/{key_id}/deactivate", { params }));
  same("deactivated", off.is_active, false);
  const active = { path, query: { is_active: true } };
  same("active keys", ok("list keys", await api.GET(KEYS, { params: active })), []);
  const on = ok("reactivate", await api.POST("/v1/webhooks/keys/{key_id}/reactivate", { params }));
  same("reactivated", [on.is_active, on.disabled_at], [true, null]);
}

async function delivery(path: { endpoint_id: string }) {
  const test = "/v1/webhooks/endpoints/{endpoint_id}/test";
  const event = ok("test event", await api.POST(test, { params: { path } }), 202);
  same<string>("type of the test event", event.type, "webhook.test");
  same("deliveries of the test event", event.deliveries.length, 1);

  const query = { endpoint_id: path.endpoint_id, event_id: event.id, limit: 5 };
  const deliveries = ok("list deliveries", await api.GET(DELIVERIES, { params: { query } }));
  same("deliveries", deliveries.map((one) => one.id), event.deliveries.map((one) => one.id));
  same("endpoint of the delivery", deliveries[0]?.webhook_endpoint_id, path.endpoint_id);
  const none = { endpoint_id: path.endpoint_id, status: "succeeded" } as const;
  same("succeeded deliveries", ok("list deliveries", await api.GET(DELIVERIES, { params: { query: none } })), []);

  const events = ok("list events", await api.GET(EVENTS, { params: { query: { limit: 100 } } }));
  holds("the test event is not listed", events.some((one) => one.id === event.id));
  const read = ok("get event", await api.GET("/v1/webhooks/events/{event_id}", { params: { path: { event_id: event.id } } }));
  same("event", [read.id, read.type, read.created_at], [event.id, event.type, event.created_at]);
}

/** Never called: each line must be refused by the compiler. */
export async function mistyped() {
  // @ts-expect-error the url is missing
  await api.POST(ENDPOINTS, { body: { name: "no url" } });
  // @ts-expect-error not a number
  await api.GET(ENDPOINTS, { params: { query: { limit: "ten" } } });
  // @ts-expect-error no such status
  await api.GET(DELIVERIES, { params: { query: { status: "lost" } } });
  // @ts-expect-error no such path
  await api.GET("/v1/webhooks/nothing");
  const { data } = await api.GET(ENDPOINTS);
  // @ts-expect-error no such member
  return data?.data[0]?.colour;
}

try {
  await life();
  console.log("ok");
} catch (error) {
  console.error(`life: ${error instanceof Error ? error.message : error}`);
  process.exit(1);
}
