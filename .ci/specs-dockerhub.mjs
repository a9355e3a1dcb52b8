// Docker Hub's description, and what it leaves out.
const json = (value) => ({ type: "application/json", body: JSON.stringify(value) });
const later = "the package has the description before that; Docker documents it in today's (version 2-beta)";

export default {
  // Where the interface begins in the tests.
  bases: ["https://hub.docker.com/"],
  headers: {},
  // What must be refused, or the mock is not strict and the amendments allow too much.
  wrong: [
    { method: "POST", path: "v2/auth/token", ...json({ username: "me", password: "x" }) },
    { method: "POST", path: "v2/auth/token", ...json({ identifier: "me" }) },
    { method: "GET", path: "v2/namespaces/library/repositories?page_size=101" },
    { method: "GET", path: "v2/namespaces/library/repositories?ordering=stars" },
    { method: "GET", path: "v2/namespaces/library/repositories/nginx/tags?page=first" },
    { method: "GET", path: "v2/namespaces/library/repositories/nginx/tags?name=alpine" },
    { method: "DELETE", path: "v2/namespaces/library/repositories/nginx/tags/latest" },
  ],

  // Each by what Docker says in today's description.
  amendments: {
    // "Create access token", in the place of /v2/users/login, which is deprecated.
    [`POST /v2/auth/token: ${later}`]: ({ paths }) => {
      const string = { type: "string" };
      const schema = { type: "object", required: ["identifier", "secret"], properties: { identifier: string, secret: string } };
      paths["/v2/auth/token"] = {
        post: {
          requestBody: { required: true, content: { "application/json": { schema } } },
          responses: { 200: { description: "Token created" } },
        },
      };
    },
    // "List repositories in a namespace".
    [`GET /v2/namespaces/{namespace}/repositories: ${later}`]: ({ paths }) => {
      const query = (name, schema) => ({ name, in: "query", required: false, schema });
      const orders = ["name", "last_updated", "pull_count"].flatMap((order) => [order, `-${order}`]);
      paths["/v2/namespaces/{namespace}/repositories"] = {
        get: {
          parameters: [
            { name: "namespace", in: "path", required: true, schema: { type: "string" } },
            query("page", { type: "integer", minimum: 1 }),
            query("page_size", { type: "integer", minimum: 1, maximum: 100 }),
            query("name", { type: "string" }),
            query("ordering", { type: "string", enum: orders }),
          ],
          responses: { 200: { description: "List of repositories" } },
        },
      };
    },
  },
  undescribed: {},
  elsewhere: {},
};
