// Harbor's description, and what it leaves out.
const json = (value) => ({ type: "application/json", body: JSON.stringify(value) });

export default {
  // Where the interface begins in the tests.
  bases: ["https://harbor.example.com/api/v2.0/"],
  headers: { authorization: "Basic b2Y6dGhlLXRlc3Rz" },
  // What must be refused, or the mock is not strict.
  wrong: [
    ["GET", "projects?page_size=101"],
    ["GET", "projects?per_page=10"],
    ["GET", "projects/a/repositories/b/artifacts?with_tag=some"],
    ["GET", "robots/kiops"],
    ["POST", "projects", json({ project_name: "a", storage_limit: "1 GB" })],
    ["POST", "projects", json({ project_name: "a", metadata: { public: true } })],
    ["POST", "robots", json({ name: "a", duration: "30", permissions: [] })],
    ["PATCH", "robots/1"],
    ["POST", "projects/a/webhook/policies", json({ targets: { address: "https://a.example.com/" } })],
    ["PUT", "projects/a/webhook/policies/1", json({ enabled: "yes" })],
    ["POST", "projects/a/repositories/b/artifacts/c/scan", json({ scan_type: "all" })],
  ].map(([method, path, sent]) => ({ method, path, ...sent })),
  amendments: {},
  // Calls that are not described at all, each with the reason.
  undescribed: {},
  // What is asked outside of the interface.
  elsewhere: {
    "https://harbor.example.com/v2/": "the distribution protocol",
    "https://harbor.example.com/service/token": "tokens for the distribution protocol",
  },
};
