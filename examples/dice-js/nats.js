// As much of NATS as a plugin needs: lines of text over TCP, and one signature. Without a bus the program ends, and its
// node starts it again.
const { createPrivateKey, sign } = require("node:crypto");
const { readFileSync } = require("node:fs");
const net = require("node:net");
const tls = require("node:tls");

const { AIGIS_BUS, AIGIS_CA, AIGIS_CREDS } = process.env;

/** The part of the credential file that has that title. */
const part = (title) => readFileSync(AIGIS_CREDS, "utf8").split(`BEGIN ${title}-----\n`)[1].split("\n")[0];

/** The key of a seed: 32 bytes in base32, after two that say its kind and before two that check it. */
function keyOf(seed) {
  const five = (letter) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(letter).toString(2).padStart(5, "0");
  const bytes = [...seed].map(five).join("").match(/.{8}/g).map((bits) => parseInt(bits, 2));
  const pkcs8 = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), Buffer.from(bytes.slice(2, 34))]);
  return createPrivateKey({ format: "der", type: "pkcs8", key: pkcs8 });
}

/** Hears a subject: `hear` is given each message's subject, reply subject, body, and what sends an answer. */
exports.listen = function listen(subject, hear) {
  const { hostname, port } = new URL(AIGIS_BUS.split(",")[0]);
  let socket = net.connect({ host: hostname, port }), read = Buffer.alloc(0);

  const send = (to, body, headers = "") => {
    const head = `NATS/1.0\r\n${headers}\r\n`, size = Buffer.byteLength(head);
    socket.write(`HPUB ${to} ${size} ${size + Buffer.byteLength(body)}\r\n${head}${body}\r\n`);
  };
  const greet = ({ nonce, tls_required }) => {
    if (tls_required) take((socket = tls.connect({ socket: socket.removeAllListeners("data"), host: hostname, ca: readFileSync(AIGIS_CA) })));
    const sig = sign(null, Buffer.from(nonce), keyOf(part("USER NKEY SEED"))).toString("base64url");
    const login = { jwt: part("NATS USER JWT"), sig, headers: true, verbose: false, lang: "js", version: "1", protocol: 1 };
    socket.write(`CONNECT ${JSON.stringify(login)}\r\nSUB ${subject} 1\r\n`);
  };
  /** Takes one line, and the message that belongs to it; says how many bytes that was, or 0 until it is all there. */
  const next = () => {
    const end = read.indexOf("\r\n"), [word, ...rest] = read.toString("utf8", 0, end).split(" ");
    if (end < 0) return 0;
    if (word === "INFO" && !socket.greeted) greet(JSON.parse(read.toString("utf8", 5, end)), (socket.greeted = true));
    if (word === "PING") socket.write("PONG\r\n");
    if (word === "-ERR") process.exitCode = 1, console.error(rest.join(" "));
    if (word !== "MSG" && word !== "HMSG") return end + 2;
    const total = Number(rest.at(-1)), head = word === "HMSG" ? Number(rest.at(-2)) : 0, body = end + 2;
    if (read.length < body + total + 2) return 0;
    const reply = rest.length - (word === "HMSG" ? 1 : 0) > 3 ? rest[2] : undefined;
    hear(rest[0], reply, read.toString("utf8", body + head, body + total), send);
    return body + total + 2;
  };
  function take(stream) {
    stream.on("data", (data) => {
      read = Buffer.concat([read, data]);
      for (let size; (size = next()); ) read = read.subarray(size);
    });
    stream.on("error", (error) => console.error(error.message)).on("close", () => process.exit(1));
  }
  take(socket);
  process.on("SIGTERM", () => process.exit(0));
};
