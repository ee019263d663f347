"use strict";
// Socket activation, readiness and draining for a Node app that knows nothing of them:
//
//     node --require /usr/share/dropdeploy/apps/node/listen-fds.cjs server.js
//
// - The app's listen() takes the socket that systemd passed (sd_listen_fds(3)): the one for $PORT, or the first one
//   where PORT is not set. With several sockets, one listen() after the other takes the next.
// - When the server listens, systemd is told READY=1 (sd_notify(3)).
// - On SIGTERM nothing more is accepted; what is under way is answered, with "Connection: close"; connections that are
//   idle (and WebSockets) are closed after DRAIN_IDLE_SEC, all others after DRAIN_SEC. Only then the app's own handlers
//   of SIGTERM run; without any the process exits.
//
// http, https, http2 and net, CommonJS and ES modules, cluster; Node 18.7 and newer. Without a passed socket it does
// nothing.

const { spawn } = require("node:child_process");
const diagnostics = require("node:diagnostics_channel");
const net = require("node:net");
const { isMainThread } = require("node:worker_threads");

const FIRST_FD = 3; // SD_LISTEN_FDS_START
const BACKLOG = 65535; // listen(2) is called again on the shared socket: as much as the kernel allows, as before
const IDLE_MS = milliseconds("DRAIN_IDLE_SEC", 5);
const LIMIT_MS = milliseconds("DRAIN_SEC", 25);
const PARKED = "LISTEN_FDS_CJS_PARKED";

const wanted = process.env.PORT === undefined ? null : Number(process.env.PORT);
const cluster = isMainThread && process.env.LISTEN_FDS ? require("node:cluster") : { isWorker: false };
const owner = cluster.isWorker ? process.ppid : process.pid; // a worker's listen() is carried out by its primary
const passed = isMainThread && Number(process.env.LISTEN_PID) === owner ? Number(process.env.LISTEN_FDS) || 0 : 0;

function milliseconds(name, otherwise) {
  const seconds = Number(process.env[name] || otherwise);
  return 1000 * (seconds >= 0 ? seconds : otherwise);
}

function say(text) {
  process.stderr.write(`listen-fds: ${text}\n`);
}

// --- listen ----------------------------------------------------------------------------------------------------------

const taken = new Map(); // server → what its listen() asked for: { port, host, fd }

// The forms of net.Server.listen(): (port, host, …), ({ port, host }), and what is no port: null.
function asked(args) {
  const first = args[0];
  if (first !== null && typeof first === "object") {
    const isPort = first.port !== undefined && first.path === undefined && first.fd === undefined && !first._handle;
    return isPort ? { port: Number(first.port), host: first.host } : null;
  }
  if (first === undefined || first === null || typeof first === "function") return { port: 0 };
  const host = typeof args[1] === "string" ? args[1] : undefined;
  return Number.isNaN(Number(first)) ? null : { port: Number(first), host };
}

function fdFor(request) {
  for (const other of taken.values()) {
    if (request.port !== 0 && other.port === request.port) return other.fd;
  }
  const next = FIRST_FD + new Set([...taken.values()].map((other) => other.fd)).size;
  if (next >= FIRST_FD + passed) return null;
  if (wanted && next === FIRST_FD && request.port !== 0 && request.port !== wanted) {
    say(`a server listens on port ${request.port}; the socket that was passed waits for the one on PORT=${wanted}`);
    return null;
  }
  return next;
}

const listen = net.Server.prototype.listen;

function listenOnPassed(...args) {
  const request = asked(args);
  const fd = request && !taken.has(this) ? fdFor(request) : null;
  if (fd === null) return listen.apply(this, args);
  const callback = args.find((argument) => typeof argument === "function");
  const isSecond = [...taken.values()].some((other) => other.fd === fd);
  taken.set(this, { ...request, fd });
  describe(this, request);
  if (isSecond) {
    // "localhost" is two addresses, and some frameworks listen on each. Both are this one socket.
    if (callback) this.once("listening", callback);
    process.nextTick(() => this.emit("listening"));
    return this;
  }
  follow(this);
  this.once("listening", notifyReady);
  return listen.call(this, { fd, backlog: BACKLOG, signal: args[0]?.signal }, callback);
}

// A Unix socket (a trial's) has no address to tell, and apps print the one they asked for.
function describe(server, request) {
  const address = server.address;
  server.address = function () {
    const host = request.host && net.isIP(request.host) ? request.host : "127.0.0.1";
    return address.call(server) ?? { address: host, family: net.isIPv6(host) ? "IPv6" : "IPv4", port: request.port };
  };
}

// --- readiness -------------------------------------------------------------------------------------------------------

// Node has no Unix datagram sockets: systemd-notify(1) has. It waits until systemd has read the message.
function notifyReady() {
  if (!process.env.NOTIFY_SOCKET) return;
  const child = spawn("systemd-notify", ["--ready"], { stdio: ["ignore", "ignore", "inherit"] });
  child.on("error", (error) => say(`systemd-notify: ${error.message}`));
  child.unref();
}

// --- draining --------------------------------------------------------------------------------------------------------

const open = new Set(); // every connection
const connections = new Map(); // those past TLS → { responses: under way, read: bytesRead when the last one ended }
const sessions = new Set(); // HTTP/2
let listening = 0; // servers that accept, or have connections
let isDraining = false;
let isDrained = false;

function follow(server) {
  listening += 1;
  server.prependListener("connection", (socket) => {
    open.add(socket);
    socket.once("close", () => open.delete(socket));
  });
  server.prependListener("setSecureContext" in server ? "secureConnection" : "connection", (socket) => {
    connections.set(socket, { responses: new Set(), read: socket.bytesRead });
    socket.once("close", () => connections.delete(socket));
  });
  server.on("session", (session) => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
    if (isDraining) leave(session);
  });
  server.once("close", () => {
    listening -= 1;
    settle();
  });
  yieldTo(server);
  catchSigterm();
}

// The app's own handler of SIGTERM closes what is closed by then; before, it must not close what is still to be drained.
function yieldTo(server) {
  const { close, closeIdleConnections } = server;
  server.close = function (callback) {
    if (!isDraining) return close.call(server, callback);
    if (callback && isDrained) process.nextTick(callback);
    else if (callback) server.once("close", callback);
    return server;
  };
  if (closeIdleConnections) {
    server.closeIdleConnections = () => (isDraining ? undefined : closeIdleConnections.call(server));
  }
}

function onRequest({ socket, response }) {
  const connection = connections.get(socket);
  if (!connection) return;
  connection.responses.add(response);
  if (isDraining) response.shouldKeepAlive = false;
  response.once("close", () => {
    connection.responses.delete(response);
    connection.read = socket.bytesRead;
  });
}

// Also not idle: one on which the head of a request has begun to arrive.
function isIdle(socket, { responses, read }) {
  return responses.size === 0 && socket.bytesRead === read;
}

// A connection that was upgraded (a WebSocket) has left HTTP, and would never be idle.
function isUpgraded(socket) {
  return socket.parser === null;
}

// GOAWAY in two steps (RFC 9113, 6.8): no new streams; then, when the client knows, the last one is named.
function leave(session) {
  session.goaway(0, 2 ** 31 - 1);
  setTimeout(() => session.close(), Math.min(IDLE_MS, 500));
}

function drain() {
  isDraining = true;
  for (const server of taken.keys()) {
    // Not http's own close(): since Node 19 it closes idle connections, on which a request may be on its way.
    if (server.listening) net.Server.prototype.close.call(server);
  }
  for (const { responses } of connections.values()) {
    for (const response of responses) response.shouldKeepAlive = false;
  }
  for (const session of sessions) leave(session);
  setTimeout(closeIdle, IDLE_MS).unref();
  setTimeout(closeAll, LIMIT_MS).unref();
  stopWorkers();
  settle();
}

function closeIdle() {
  for (const [socket, connection] of connections) {
    if (isUpgraded(socket) || isIdle(socket, connection)) socket.destroy();
  }
}

function closeAll() {
  say(`after ${LIMIT_MS / 1000} s of draining, ${open.size} connections are cut`);
  for (const socket of open) socket.destroy();
}

function settle() {
  if (!isDraining || isDrained || listening > 0 || countWorkers() > 0) return;
  isDrained = true;
  setImmediate(() => {
    if (process.listenerCount("SIGTERM") > 1) emit.call(process, "SIGTERM", "SIGTERM", 15);
    else process.exit(0);
  });
}

// A signal that has a listener arrives at process.emit.
const emit = process.emit;

function emitOrDrain(name, ...rest) {
  const isMine = name === "SIGTERM" && !isDrained && (isDraining || listening > 0 || countWorkers() > 0);
  if (!isMine) return emit.call(this, name, ...rest);
  if (!isDraining) drain();
  return true;
}

let isCaught = false;

function catchSigterm() {
  if (!isCaught) process.on("SIGTERM", () => {});
  isCaught = true;
}

// --- cluster ---------------------------------------------------------------------------------------------------------

// The workers accept and drain by themselves. Their primary stays until they are done, and replaces none of them.
const workers = new Set();

function countWorkers() {
  return workers.size;
}

function stopWorkers() {
  for (const worker of workers) worker.process.kill("SIGTERM");
}

function lead() {
  // Round robin would have the primary accept connections for workers that are about to end.
  cluster.schedulingPolicy = cluster.SCHED_NONE;
  const fork = cluster.fork;
  cluster.fork = function (environment) {
    // Apps replace a worker that has ended; one that comes during the draining must not accept.
    if (isDraining) return fork.call(cluster, { ...environment, [PARKED]: "1" });
    const worker = fork.call(cluster, environment);
    workers.add(worker);
    worker.process.once("exit", () => {
      workers.delete(worker);
      setImmediate(settle); // the app's own handlers first
    });
    catchSigterm();
    return worker;
  };
}

if (process.env[PARKED]) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); // until it is killed
if (passed > 0) {
  net.Server.prototype.listen = listenOnPassed;
  process.emit = emitOrDrain;
  diagnostics.subscribe("http.server.request.start", onRequest);
  if (!cluster.isWorker) lead();
}
