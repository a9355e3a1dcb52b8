// @octokit/webhooks as a peer of benches/peers/run. Each line on standard input is a delivery and how many times to receive it; each
// line on standard output says what the push held and how much processor time all of those took.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { Webhooks } from "@octokit/webhooks";

for await (const line of createInterface({ input: process.stdin })) {
  const { headers, body, secret, times } = JSON.parse(line);
  const webhooks = new Webhooks({ secret });
  let push;
  webhooks.on("push", (event) => {
    push = event.payload;
  });
  // It takes text. That its own middleware first has to decode the bytes is not counted against it.
  const delivery = {
    id: headers["x-github-delivery"],
    name: headers["x-github-event"],
    signature: headers["x-hub-signature-256"],
    payload: readFileSync(body, "utf8"),
  };
  try {
    const before = process.cpuUsage();
    for (let n = 0; n < times; n += 1) {
      await webhooks.verifyAndReceive(delivery);
    }
    const { user, system } = process.cpuUsage(before);
    const paths = push.commits.flatMap(({ added, modified, removed }) => [...added, ...modified, ...removed]);
    console.log(JSON.stringify({ seen: `${push.after} ${paths.length}`, nanos: (user + system) * 1000 }));
  } catch (error) {
    console.log(JSON.stringify({ refused: error.message }));
  }
}
