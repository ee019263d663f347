// An Express app, as ill as behaviour.json says.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import express from "express";

const behaviour = JSON.parse(readFileSync("behaviour.json", "utf8"));
console.log(`booting ${behaviour.version}`);
if (behaviour.needs && !(behaviour.needs in process.env)) {
  throw new Error(`${behaviour.needs} is not set`);
}

const app = express();
app.get("/", (request, response) => {
  response.json({ version: behaviour.version, pid: process.pid, cwd: process.cwd() });
});
app.get("/health", (request, response) => {
  if (behaviour.column) {
    throw new Error(`no such column: ${behaviour.column}`);
  }
  response.send("fine\n");
});
// Half of the answer comes at once.
app.get("/slow", (request, response) => {
  response.write("slow ");
  setTimeout(() => response.end(process.cwd()), 1000 * (behaviour.slow_s ?? 1.5));
});

setTimeout(() => {
  app.listen(process.env.PORT, "127.0.0.1", () => console.log("listening"));
}, 1000 * (behaviour.boot_s ?? 0));
if (behaviour.crash_after_s) {
  setTimeout(() => process.abort(), 1000 * behaviour.crash_after_s);
}
if (behaviour.leaks) {
  // A child that keeps the listening socket open, and never accepts.
  spawn("sleep", ["1d"], { detached: true, stdio: ["ignore", "ignore", "ignore", 3] }).unref();
}
if (behaviour.hangs) {
  process.on("SIGTERM", () => console.log("no, thanks"));
  setInterval(() => {}, 1000);
}
