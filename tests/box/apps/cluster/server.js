// Two workers without a framework. Their primary replaces those that end.
const cluster = require("node:cluster");
const http = require("node:http");

if (cluster.isPrimary) {
  for (let number = 0; number < 2; number += 1) cluster.fork();
  cluster.on("exit", () => cluster.fork());
} else {
  http
    .createServer((request, response) => {
      const slow_ms = request.url === "/slow" ? 1500 : 0;
      setTimeout(() => response.end(JSON.stringify({ cwd: process.cwd(), pid: process.pid })), slow_ms);
    })
    .listen(process.env.PORT);
}
