// A Fastify app. It listens where Fastify does unless it is told otherwise: on each address of "localhost".
import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import Fastify from "fastify";

const behaviour = JSON.parse(readFileSync("behaviour.json", "utf8"));
const app = Fastify();
app.get("/", async () => ({ version: behaviour.version, pid: process.pid, cwd: process.cwd() }));
app.get("/health", async () => "fine\n");
app.get("/slow", async () => {
  await pause(1000 * (behaviour.slow_s ?? 1.5));
  return process.cwd();
});
console.log(`listening: ${await app.listen({ port: process.env.PORT })}`);
