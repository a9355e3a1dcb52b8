// GitHub's description, and what it leaves out.
export default {
  // Where the interface begins in the tests.
  bases: ["https://ghe.example.com/prefix/api/v3/", "https://api.github.com/"],
  headers: { "x-github-api-version": "2022-11-28" },
  // What must be refused, or the mock is not strict and the amendments allow too much.
  wrong: [
    { method: "POST", path: "repos/a/b/statuses/c", type: "application/json", body: '{"state":"nonsense"}' },
    { method: "POST", path: "repos/a/b/pulls", type: "application/json", body: '{"title":"without a branch"}' },
    { method: "GET", path: "repos/a/b/branches?pagelen=1" },
    { method: "GET", path: "repos/a/b/git/blobs/c", accept: "application/vnd.github.html+json" },
  ],
  // Each by what GitHub says in words, and in no declaration.
  amendments: {
    // "This endpoint supports the following custom media types": `application/vnd.github.raw+json`, in the call's text only.
    "raw blobs": ({ paths }) => {
      const { content } = paths["/repos/{owner}/{repo}/git/blobs/{file_sha}"].get.responses["200"];
      content["application/vnd.github.raw+json"] = { schema: { type: "string" } };
    },
    // Its answer has a declared `Link` to further pages, and the reference of older servers says how they are asked for; today's give
    // everything at once.
    "pages of refs": ({ paths }) => {
      const pages = ["per-page", "page"].map((name) => ({ $ref: `#/components/parameters/${name}` }));
      paths["/repos/{owner}/{repo}/git/matching-refs/{ref}"].get.parameters.push(...pages);
    },
  },
  // Calls that are not described at all, each with the reason.
  undescribed: {},
  // What is asked outside of the interface.
  elsewhere: {
    "https://ghe.example.com/prefix/_codeload/": "where an archive's answer leads",
    "https://ghe.example.com/prefix/api/graphql": "GraphQL, which is described by its schema",
  },
};
