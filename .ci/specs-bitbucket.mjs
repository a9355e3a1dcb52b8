// Bitbucket Cloud's description, and what it leaves out.
const REPOSITORY = "/repositories/{workspace}/{repo_slug}";
// Deeper paths are not asked for in the tests.
const DEPTH = 16;

const string = { type: "string" };
const query = (name, schema = string) => ({ name, in: "query", required: false, schema });
const body = (type, schema) => ({ required: true, content: { [type]: { schema } } });
const object = (required, properties) => ({ type: "object", required, properties, additionalProperties: false });
const add = (operation, ...parameters) => (operation.parameters ??= []).push(...parameters);
// Some are in several places.
const gets = ({ paths }) => [...new Set(Object.values(paths).flatMap((item) => item.get ?? []))];
const form = (fields) => ({
  type: "multipart/form-data; boundary=x",
  body: Object.entries(fields).map(([name, value]) => `--x\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`).join("") + "--x--\r\n",
});
const json = (value) => ({ type: "application/json", body: JSON.stringify(value) });

export default {
  // Where the interface begins in the tests.
  bases: ["https://api.bitbucket.org/2.0/"],
  headers: {},
  // What must be refused, or the mock is not strict and the amendments allow too much.
  wrong: [
    ["POST", "/commit/c/statuses/build", json({ type: "build", state: "nonsense" })],
    ["POST", "/commit/c/statuses/build", json({ state: "FAILED" })],
    ["POST", "/pullrequests", json({ title: "x", source: { branch: { name: "x" } } })],
    ["POST", "/hooks", json({ url: "https://a.example.com/", events: ["push"] })],
    ["PUT", "/hooks/1", json({ url: "https://a.example.com/", events: ["repo:push"], enabled: true })],
    ["POST", "/refs/branches", json({ name: "x", target: "main" })],
    ["POST", "/src", json({ message: "x" })],
    ["POST", "/src", form({ message: "x", parents: "main" })],
    ["GET", "/src/c"],
    ["GET", "/src/c/d/e?max_depth=all"],
    ["GET", "/refs/branches?per_page=100"],
    ["GET", "/refs/branches?pagelen=101"],
    ["GET", "/commit/c?include=d"],
  ].map(([method, path, sent]) => ({ method, path: `repositories/a/b${path}`, ...sent })),

  // Each by what Atlassian says in words, and in no declaration.
  amendments: {
    // Its examples ask for `src/eefd5ef/tests/__init__.py` and lists `tests/test_project/`: a template's placeholder cannot hold a
    // slash. "When listing the contents of the repo's root directory, the use of a trailing slash at the end of the URL is required."
    "paths below `src` have slashes, and folders end with one": ({ paths }) => {
      const source = `${REPOSITORY}/src/{commit}/`;
      const item = paths[`${source}{path}`];
      const [path] = item.parameters.filter(({ name }) => name === "path");
      const others = item.parameters.filter(({ name }) => name !== "path");
      let template = "";
      const parts = [];
      for (let depth = 0; depth < DEPTH; depth++) {
        paths[`${source}${template}`] ??= { ...item, parameters: [...others, ...parts] };
        const name = depth ? `path${depth}` : "path";
        parts.push({ ...path, name });
        template += `{${name}}`;
        paths[`${source}${template}`] ??= { ...item, parameters: [...others, ...parts] };
        template += "/";
      }
    },
    // "This endpoint accepts `multipart/form-data`": what is declared as query parameters "is sent along as normal form field elements",
    // files under their paths. `parents` are comma-separated SHA1s.
    "a commit's form": ({ paths }) => {
      const commits = { type: "string", pattern: "^[0-9a-f]{40}(,[0-9a-f]{40})*$" };
      const fields = { message: string, author: string, parents: commits, files: string, branch: string };
      paths[`${REPOSITORY}/src`].post.requestBody = body("multipart/form-data", { type: "object", properties: fields });
    },
    // "a JSON document that contains the name of the tag and the target hash", as in its example.
    "a new branch's body": ({ paths }) => {
      const target = object(["hash"], { hash: string });
      paths[`${REPOSITORY}/refs/branches`].post.requestBody = body("application/json", object(["name", "target"], { name: string, target }));
    },
    // Its example has `url`, `active`, `events` and a `description`: the fields of `webhook_subscription`. `secret` came to the reference
    // later, with "the key to generate a HMAC digest value"; `skip_cert_verification` is in its answers and on its page for a hook.
    "a hook's body": ({ paths, components }) => {
      const declared = components.schemas.webhook_subscription.allOf.find(({ properties }) => properties).properties;
      const { description, url, active, events } = declared;
      const fields = { description, url, active, events, secret: string, skip_cert_verification: { type: "boolean" } };
      const hook = body("application/json", object(["url", "events"], fields));
      paths[`${REPOSITORY}/hooks`].post.requestBody = hook;
      paths[`${REPOSITORY}/hooks/{uid}`].put.requestBody = hook;
    },
    // Introduction, "Pagination": `page` is a query parameter whose values are not for us to make up; of `pagelen` "the maximum is 100".
    // It names 10 as the least and gives fewer where fewer are asked for.
    "pages of lists": (description) => {
      const pagelen = { type: "integer", minimum: 1, maximum: 100 };
      const isList = (get) => JSON.stringify(get.responses["200"] ?? {}).includes("/paginated_");
      gets(description).filter(isList).forEach((get) => {
        const has = (name) => get.parameters?.some((one) => one.name === name);
        add(get, ...[query("page"), query("pagelen", pagelen)].filter(({ name }) => !has(name)));
      });
    },
    // Introduction, "Partial responses": "use the `fields` query parameter", with any call.
    "parts of answers": (description) => gets(description).forEach((get) => add(get, query("fields"))),
    // Introduction, "Filtering", names pull requests; so does the call's own text: "also supports filtering and sorting".
    "filtered pull requests": ({ paths }) => add(paths[`${REPOSITORY}/pullrequests`].get, query("q"), query("sort")),
    // Its examples: `commits/?include=foo&include=bar&exclude=fu`.
    "commits of one and not of another": ({ paths }) =>
      add(paths[`${REPOSITORY}/commits`].get, query("include"), query("exclude"), query("path")),
  },

  // Calls that are not described at all, each with the reason.
  undescribed: {
    "GET /user/workspaces": "younger than this description (change 3022 of Bitbucket's interface); where it is not there, GET /repositories is asked",
  },
  // What is asked outside of the interface.
  elsewhere: { "https://bitbucket.org/": "archives, which only the website has" },
};
