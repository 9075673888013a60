// A dashboard's dealings with the API through generated types; compiled, never run.
import type { TypedDocumentNode } from "@graphql-typed-document-node/core";
import { print } from "graphql";
import type { Client } from "graphql-ws";
import * as api from "./api.js";

async function ask<Data, Variables>(
  url: string,
  key: string,
  document: TypedDocumentNode<Data, Variables>,
  variables: Variables,
): Promise<Data> {
  const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json" };
  const body = JSON.stringify({ query: print(document), variables });
  const answer = await fetch(`${url}/graphql`, { method: "POST", headers, body });
  const { data, errors } = (await answer.json()) as { data?: Data; errors?: { message: string }[] };
  if (!data) throw new Error(errors?.[0]?.message ?? answer.statusText);
  return data;
}

async function* watch<Data, Variables extends Record<string, unknown>>(
  client: Client,
  document: TypedDocumentNode<Data, Variables>,
  variables: Variables,
): AsyncGenerator<Data> {
  for await (const { data } of client.iterate<Data>({ query: print(document), variables })) {
    if (data) yield data;
  }
}

export async function register(url: string, key: string, target: string): Promise<[string, string]> {
  const input = { url: target, labels: ["dashboard"], rateLimitPerSecond: null };
  const { createEndpoint } = await ask(url, key, api.CreateEndpointDocument, { input });
  const { result, userErrors } = createEndpoint;
  if (!result) throw new Error(userErrors.map(({ field, message }) => `${field}: ${message}`).join());
  return [result.endpoint.id, result.signingSecret];
}

export async function failed(url: string, key: string, endpointId: string): Promise<Map<string, string>> {
  const { deliveries } = await ask(url, key, api.DeliveriesDocument, { status: "FAILED", endpointId });
  const reason = (reason: api.FailureReason | null | undefined): string => (reason === "EXPIRED" ? "too late" : reason ?? "");
  return new Map(deliveries.nodes.map((delivery) => [delivery.id, reason(delivery.failureReason)]));
}

export async function settled(client: Client, eventId: string, after?: string): Promise<number> {
  const filter: api.DeliveryChangedFilter = { eventId, changes: ["SETTLED", "FAILED"] };
  for await (const { deliveryChanged } of watch(client, api.DeliveryChangedDocument, { filter, after })) {
    if (deliveryChanged.gap) throw new Error(`read again, then go on behind ${deliveryChanged.cursor}`);
    if (deliveryChanged.delivery) return deliveryChanged.delivery.attemptCount;
  }
  throw new Error("the subscription ended");
}

/** Each line must be refused by the compiler. */
export async function mistyped(url: string, key: string, client: Client) {
  // @ts-expect-error the url is missing
  await ask(url, key, api.CreateEndpointDocument, { input: { name: "no url" } });
  // @ts-expect-error not a number
  await ask(url, key, api.EndpointsDocument, { first: "ten" });
  // @ts-expect-error no such status
  await ask(url, key, api.DeliveriesDocument, { status: "LOST" });
  const { endpoint } = await ask(url, key, api.EndpointDocument, { id: "1" });
  // @ts-expect-error it may have no name
  endpoint.name.trim();
  for await (const { endpointChanged } of watch(client, api.EndpointChangedDocument, {})) {
    // @ts-expect-error a gap has no endpoint
    endpointChanged.endpoint.id;
  }
}
