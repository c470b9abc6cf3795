// Dice, as a plugin that speaks NATS by itself: it needs Node.js, and nothing else.
const { randomInt } = require("node:crypto");
const { listen } = require("./nats.js");

const { AIGIS_MESH: MESH, AIGIS_PLUGIN: NAME } = process.env;
const MAY = { read: ["viewer", "operator", "admin", "node", "plugin"], write: ["operator", "admin", "plugin"] };
let loaded = 0;

/** What the caller is told instead of a result: a code, and why. */
class Refused extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

function roll(sides, count = 1) {
  if (!Number.isInteger(sides) || !Number.isInteger(count) || sides < 1 || count < 0)
    throw new Refused("invalid_argument", "sides and count are integers, and a die has at least one side");
  return Array.from({ length: count }, () => Math.min(loaded, sides) || randomInt(1, sides + 1));
}

const load = (face) => ([loaded, face] = [face, loaded])[1];

const integer = { type: "integer" };
const skill = (run, effect, doc, names, output) => ({ run, effect, doc, names, output });
const SKILLS = {
  roll: skill(roll, "read", "Rolls dice.", ["sides", "count"], { type: "array", items: integer }),
  load: skill(load, "write", "Has all dice fall on one face; 0 has them fall as they like.", ["face"], integer),
};

function answer(role, path, { args = [], kwargs = {} }) {
  if (path === "describe") {
    const told = ([path, { effect, doc, names, output }]) => {
      const input = { type: "object", properties: Object.fromEntries(names.map((name) => [name, integer])) };
      return { path, effect, doc, signature: `(${names.join(", ")})`, input, output };
    };
    return { name: NAME, skills: Object.entries(SKILLS).map(told) }; // its node asks that, and says it on
  }
  if (!Object.hasOwn(SKILLS, path)) throw new Refused("not_found", `there is no skill ${path} here`);
  const { run, effect, names } = SKILLS[path];
  if (!MAY[effect].includes(role)) throw new Refused("permission_denied", `${path} is ${effect}; ${role} may not`);
  return run(...names.map((name, place) => args[place] ?? kwargs[name]));
}

listen(`aigis.v1.${MESH}.to.${NAME}.>`, (subject, reply, body, send) => {
  const [role, caller, ci, ...path] = subject.split(".").slice(5); // the bus vouches for role and caller
  // A cancel; or an answer that is to go to somebody else, which none ever may.
  if (ci !== NAME || !reply?.startsWith(`_INBOX.${caller}.`)) return;
  try {
    send(reply, JSON.stringify(answer(role, path.join("."), JSON.parse(body || "{}"))));
  } catch ({ code = "internal", message }) {
    send(reply, JSON.stringify({ code, message }), `Aigis-Error: ${code}\r\n`);
  }
});
