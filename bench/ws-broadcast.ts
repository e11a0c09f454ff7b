// Owns: the plainest broadcast server there is, to be measured beside ours: the ws library, and `send` to every client for
// each message that one of them says. Started by gateway-fan-out.ts; tells its parent the port.

import type { AddressInfo } from "node:net";
import { WebSocketServer } from "ws";

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });
server.on("connection", (speaker) => {
  speaker.on("message", (data, isBinary) => {
    for (const client of server.clients) if (client !== speaker) client.send(data, { binary: isBinary });
  });
});
server.on("listening", () => process.send?.((server.address() as AddressInfo).port));
process.on("disconnect", () => process.exit(0));
