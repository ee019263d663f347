// HTTP/1.1 and HTTP/2 over TLS on one port, and what was upgraded: an echo.
const { readFileSync } = require("node:fs");
const http2 = require("node:http2");

const release = process.cwd().split("/").pop();
const pem = readFileSync("self-signed.pem");
const server = http2.createSecureServer({ key: pem, cert: pem, allowHTTP1: true }, (request, response) => {
  setTimeout(() => response.end(release), request.url === "/slow" ? 700 : 0);
});
server.on("upgrade", (request, socket) => {
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nRelease: ${release}\r\n\r\n`);
  socket.pipe(socket);
});
server.listen({ port: process.env.PORT });
