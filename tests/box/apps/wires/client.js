// Asks over TLS, until its standard input ends, in four ways: HTTP/2, HTTP/2 slowly, HTTP/1.1 keep-alive, and an
// upgraded connection that is opened again when it is closed. Prints each failure, and when a release answered in a way
// for the first time.
const http2 = require("node:http2");
const https = require("node:https");
const { setTimeout: pause } = require("node:timers/promises");

const url = process.argv[2];
const insecure = { rejectUnauthorized: false, servername: "server" };
const seen = new Set();
let isOver = false;
process.stdin.resume().on("end", () => {
  isOver = true;
});

function tell(text) {
  if (!seen.has(text)) console.log(text);
  seen.add(text);
}

async function repeat(kind, ask) {
  while (!isOver) {
    try {
      tell(`${kind}: ${await ask()}`);
    } catch (error) {
      // Was not sent, or certainly not looked at (RFC 9113, 8.7): browsers ask again by themselves.
      if (!error.message.includes("REFUSED_STREAM")) tell(`${kind} failed: ${error.message}`);
    }
    await pause(20 * Math.random());
  }
}

function overHttp2(path) {
  let session;
  return () =>
    new Promise((resolve, reject) => {
      if (!session) {
        const mine = http2.connect(url, insecure);
        const forget = () => {
          if (session === mine) session = undefined;
        };
        mine.on("error", reject).on("goaway", forget).on("close", forget);
        session = mine;
      }
      const stream = session.request({ ":path": path });
      let body = "";
      stream.setEncoding("utf8").on("data", (part) => (body += part));
      stream.on("error", reject).on("end", () => (body ? resolve(body) : reject(new Error("empty"))));
    });
}

const agent = new https.Agent({ keepAlive: true, maxSockets: 1, ...insecure });

function overHttp1() {
  return new Promise((resolve, reject) => {
    const request = https.get(url, { agent, ALPNProtocols: ["http/1.1"] }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (part) => (body += part));
      response.on("error", reject).on("end", () => resolve(body));
    });
    request.on("error", reject);
  });
}

function upgraded() {
  if (isOver) return;
  const headers = { Connection: "Upgrade", Upgrade: "echo" };
  const request = https.get(url, { ...insecure, ALPNProtocols: ["http/1.1"], headers });
  request.on("upgrade", (response, socket) => {
    tell(`upgraded: ${response.headers.release}`);
    socket.on("close", upgraded).resume();
  });
  request.on("error", (error) => tell(`upgraded failed: ${error.message}`));
}

upgraded();
Promise.all([
  repeat("h2", overHttp2("/")),
  repeat("h2 slow", overHttp2("/slow")),
  repeat("keep-alive", overHttp1),
]).then(() => process.exit(0));
