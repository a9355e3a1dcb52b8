// Puts recorded requests to a mock that knows a vendor's description, and fails where it refuses one.
//
//   node specs.mjs MOCK RECORDED
import { readFileSync } from "node:fs";

const [mock, recorded] = process.argv.slice(2);
// Where the interface begins in the tests.
const BASES = ["https://ghe.example.com/prefix/api/v3/", "https://api.github.com/"];
// As many requests of one kind are asked about; they differ in names only.
const ALIKE = 5;

const kind = (path) =>
  path
    .split("?")[0]
    .split("/")
    .map((part, at) => (part.length >= 40 || /^\d+$/.test(part) || (at > 0 && at < 3) || part.includes("%") ? "*" : part))
    .join("/");

const counts = new Map();
const chosen = [];
for (const line of readFileSync(recorded, "utf8").trim().split("\n")) {
  const request = JSON.parse(line);
  const base = BASES.find((base) => request.url.startsWith(base));
  if (!base) continue;
  request.path = request.url.slice(base.length);
  const key = `${request.method} ${kind(request.path)}`;
  counts.set(key, (counts.get(key) ?? 0) + 1);
  if (counts.get(key) <= ALIKE) chosen.push(request);
}

const ready = async () => {
  for (let tries = 0; tries < 240; tries++) {
    try {
      return await fetch(`${mock}/user`);
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
  throw new Error("the mock does not start");
};

// What the mock says against a request; nothing where it takes it.
const complaint = async ({ method, path, accept, type, body }) => {
  const headers = { authorization: "Bearer of-the-tests", "x-github-api-version": "2022-11-28" };
  // GitHub documents the raw form of a blob in words only.
  if (accept) headers.accept = accept.replace(/^application\/vnd\.github\.raw\+json$/, "$&, application/json;q=0.1");
  if (type) headers["content-type"] = type;
  const answer = await fetch(`${mock}/${path}`, { method, headers, body: body || undefined, redirect: "manual" });
  const text = await answer.text();
  // The mock's own errors say so; a documented 404 is an answer like any other.
  return text.includes("stoplight.io/prism/errors") ? `${answer.status} ${text.slice(0, 600)}` : "";
};

await ready();
const wrong = { method: "POST", path: "repos/a/b/statuses/c", type: "application/json", body: '{"state":"nonsense"}' };
if (!(await complaint(wrong))) throw new Error("the mock takes what the description forbids");
let refused = 0;
for (const request of chosen) {
  const said = await complaint(request);
  if (!said) continue;
  refused += 1;
  console.error(`${request.method} ${request.path} -> ${said}`);
}
console.log(`${chosen.length} requests of ${counts.size} kinds, ${refused} refused`);
process.exit(refused === 0 && chosen.length > 0 ? 0 : 1);
