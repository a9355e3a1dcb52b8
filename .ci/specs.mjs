// Puts recorded requests to a mock that knows a vendor's description, and fails where it refuses one.
//
//   node specs.mjs HOST DESCRIPTION RECORDED FOLDER
//
// FOLDER has prism, and takes the amended description and the mocks' logs. A request is put to the description as it is, and
// where that refuses it to the amended one. specs-HOST.mjs has the amendments; one that no request needs is a fault too.
import { spawn } from "node:child_process";
import { openSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";

const [name, file, recorded, folder] = process.argv.slice(2);
const host = (await import(`./specs-${name}.mjs`)).default;
const METHODS = ["get", "put", "post", "delete", "patch"];

// Every operation of a description, of OpenAPI 3 or Swagger 2: its template, in parts, and the names of its query parameters.
const operations = ({ paths, components, parameters: shared }) => {
  const known = components?.parameters ?? shared;
  const named = (parameter) => (parameter.$ref ? known[parameter.$ref.split("/").pop()] : parameter);
  return Object.entries(paths).flatMap(([template, item]) =>
    METHODS.filter((method) => item[method]).map((method) => {
      const parameters = [...(item.parameters ?? []), ...(item[method].parameters ?? [])].map(named);
      const query = new Set(parameters.filter((one) => one.in === "query").map((one) => one.name));
      return { method: method.toUpperCase(), template, parts: template.split("/"), query, operation: item[method] };
    }),
  );
};

// The operation that a request is one of; the one with the fewest placeholders, as the mock takes it.
const operation = (known, { method, path }) => {
  const parts = `/${path.split("?")[0]}`.split("/");
  const fits = (one) =>
    one.method === method &&
    one.parts.length === parts.length &&
    one.parts.every((part, at) => (part.includes("{") ? parts[at] !== "" : part === parts[at]));
  const holes = (one) => one.parts.filter((part) => part.includes("{")).length;
  return known.filter(fits).sort((one, other) => holes(one) - holes(other))[0];
};

// Amends a description. Says of each operation which amendments changed it, and where they only gave it query parameters, which.
const amended = (description) => {
  const copy = structuredClone(description);
  const state = () =>
    new Map(
      operations(copy).map(({ method, template, query, operation: { parameters, ...rest } }) => [
        `${method} ${template}`,
        { query, rest: JSON.stringify(rest) },
      ]),
    );
  const changes = new Map();
  let before = state();
  for (const [says, amend] of Object.entries(host.amendments)) {
    amend(copy);
    const after = state();
    for (const [key, { query, rest }] of after) {
      const was = before.get(key);
      const names = was?.rest === rest ? [...query].filter((name) => !was.query.has(name)) : null;
      if (names?.length !== 0) changes.set(key, [...(changes.get(key) ?? []), { says, names }]);
    }
    before = after;
  }
  return { copy, changes };
};

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

const serve = async (description) => {
  const port = await freePort();
  const log = `${description}.log`;
  const out = openSync(log, "w");
  const child = spawn(`${folder}/node_modules/.bin/prism`, ["mock", "-h", "127.0.0.1", "-p", `${port}`, description], {
    stdio: ["ignore", out, out],
  });
  process.on("exit", () => child.kill());
  const mock = `http://127.0.0.1:${port}`;
  for (let tries = 0; child.exitCode === null && tries < 240; tries++) {
    try {
      await fetch(mock);
      return mock;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
  throw new Error(`the mock does not start: see ${log}`);
};

// What is said against a request; nothing where it is taken.
const complaint = async ({ mock, known }, request) => {
  const { method, path, accept, type, body } = request;
  const headers = { authorization: "Bearer of-the-tests", ...host.headers };
  if (accept) headers.accept = accept;
  if (type) headers["content-type"] = type;
  const answer = await fetch(`${mock}/${path}`, { method, headers, body: body || undefined, redirect: "manual" });
  const text = await answer.text();
  // A good request is always answered with a success. Of a bad one the header says what is wrong, whichever documented answer it gets.
  if (answer.status >= 400) return `${answer.status} ${answer.headers.get("sl-violations") ?? text.slice(0, 600)}`;
  // The mock lets any query parameter pass.
  const query = operation(known, request)?.query;
  const strange = [...new URLSearchParams(path.split("?")[1]).keys()].filter((name) => !query?.has(name));
  return strange.length ? `the description has no query parameter ${strange.join(", ")}` : "";
};

const requests = new Map();
const faults = [];
const uses = new Map([host.amendments, host.undescribed, host.elsewhere].flatMap(Object.keys).map((key) => [key, 0]));
const use = (key) => uses.set(key, uses.get(key) + 1);
for (const line of readFileSync(recorded, "utf8").trim().split("\n")) {
  const { method, url, accept, type, body } = JSON.parse(line);
  const base = host.bases.find((base) => url.startsWith(base));
  if (!base) {
    const other = Object.keys(host.elsewhere).find((other) => url.startsWith(other));
    if (other) use(other);
    else faults.push(`is not the interface: ${method} ${url}`);
    continue;
  }
  const request = { method, path: url.slice(base.length), accept, type, body };
  requests.set(JSON.stringify(request), request);
}

const description = JSON.parse(readFileSync(file, "utf8"));
const { copy, changes } = amended(description);
const amendedFile = `${folder}/${name}-amended.json`;
writeFileSync(amendedFile, JSON.stringify(copy));
const [plainMock, amendedMock] = await Promise.all([serve(file), serve(amendedFile)]);
const plain = { mock: plainMock, known: operations(description) };
const whole = { mock: amendedMock, known: operations(copy) };

for (const request of host.wrong) {
  if (!(await complaint(whole, request))) faults.push(`is taken, and is wrong: ${JSON.stringify(request)}`);
}

const kinds = new Set();
let [described, needed, undescribed, refused] = [0, 0, 0, 0];
for (const request of requests.values()) {
  const found = operation(whole.known, request);
  const call = `${request.method} /${request.path.split("?")[0]}`;
  kinds.add(found?.operation ?? call);
  if (!found && uses.has(call)) {
    undescribed += 1;
    use(call);
  } else if (!(await complaint(plain, request))) {
    described += 1;
  } else {
    const said = await complaint(whole, request);
    if (said) {
      refused += 1;
      faults.push(`${request.method} ${request.path} -> ${said}`);
    } else {
      needed += 1;
      const asked = new URLSearchParams(request.path.split("?")[1]);
      for (const { says, names } of changes.get(`${found.method} ${found.template}`) ?? []) {
        if (!names || names.some((name) => asked.has(name))) use(says);
      }
    }
  }
}
for (const [key, times] of uses) if (times === 0) faults.push(`is not needed any more: ${key}`);
if (requests.size === 0) faults.push("nothing was asked");

console.log(
  `${name}: ${requests.size} requests of ${kinds.size} kinds: ${described} accepted, ${needed} accepted with an amendment, ` +
    `${undescribed} not described, ${refused} refused`,
);
for (const [key, times] of uses) {
  const reason = host.undescribed[key] ?? host.elsewhere[key];
  const what = key in host.amendments ? "amended" : key in host.undescribed ? "not described" : "elsewhere";
  console.log(`  ${what} (${times}): ${key}${reason ? `: ${reason}` : ""}`);
}
const MOST = 40;
for (const fault of faults.slice(0, MOST)) console.error(fault);
if (faults.length > MOST) console.error(`and ${faults.length - MOST} more`);
process.exit(faults.length ? 1 : 0);
