// Opens BASE_URL/reference in headless Chromium and compares it with the document: every operation
// must be on the page, and nothing on it may come from elsewhere: reference.mjs BASE_URL PROFILE_DIR
import { spawnSync } from "node:child_process";

const [base, profile] = process.argv.slice(2);
const fail = (message) => {
  console.error(`reference: ${message}`);
  process.exit(1);
};
if (!profile) fail("usage: reference.mjs BASE_URL PROFILE_DIR");

const browser = spawnSync(
  "chromium",
  [
    "--headless=new",
    "--no-sandbox", // it may run as root, and opens this one page only
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    `--user-data-dir=${profile}`,
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--virtual-time-budget=20000",
    "--enable-logging=stderr",
    "--dump-dom",
    `${base}/reference`,
  ],
  { encoding: "utf8", timeout: 90_000, maxBuffer: 64 * 1024 * 1024 },
);
if (browser.error || browser.status !== 0) {
  fail(`chromium: ${browser.error ?? browser.stderr}`);
}
const page = browser.stdout;

// What the page logs as an error: a script that failed, a file that is missing or was refused.
const complaints = browser.stderr.split("\n").filter((line) => /:CONSOLE[:(]/.test(line));
if (complaints.length > 0) fail(complaints.join("\n"));

const shown = page.matchAll(/opblock-summary-method">(\w+)<.*?data-path="([^"]*)"/gs);
const operations = new Set(Array.from(shown, ([, method, path]) => `${method} ${path}`));
const document = await (await fetch(`${base}/openapi`)).json();
const methods = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
const expected = Object.entries(document.paths).flatMap(([path, item]) =>
  methods.filter((method) => method in item).map((method) => `${method.toUpperCase()} ${path}`),
);
const missing = expected.filter((operation) => !operations.has(operation));
if (expected.length === 0 || missing.length > 0) {
  fail(`not on the page: ${missing.join(", ") || "the document has no operation"}`);
}
const elsewhere = Array.from(page.matchAll(/<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)="([^"]*)"/g), ([, link]) =>
  new URL(link, base),
).filter((link) => link.protocol !== "data:" && link.origin !== new URL(base).origin);
if (elsewhere.length > 0) fail(`comes from elsewhere: ${elsewhere.join(", ")}`);
console.log(`${expected.length} operations`);
