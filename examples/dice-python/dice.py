"""Dice, as a plugin that is a plain NATS client: it needs nats-py, and nothing of Aigis."""
import asyncio, json, nats, os, random, signal, ssl

NAME, MESH = os.environ["AIGIS_PLUGIN"], os.environ["AIGIS_MESH"]
MAY = {"read": {"viewer", "operator", "admin", "node", "plugin"}, "write": {"operator", "admin", "plugin"}}
loaded = 0

class Refused(Exception):
    """What the caller is told instead of a result: a code, and why."""

def roll(sides, count=1):
    """Rolls dice."""
    if not (isinstance(sides, int) and isinstance(count, int) and sides > 0):
        raise Refused("invalid_argument", "sides and count are integers, and a die has at least one side")
    return [min(loaded, sides) or random.randint(1, sides) for _ in range(count)]

def load(face):
    """Has all dice fall on one face; 0 has them fall as they like. Answers what was before."""
    global loaded
    before, loaded = loaded, face
    return before

INTEGER = {"type": "integer"}
SKILLS = {"roll": (roll, "read", ["sides", "count"], {"type": "array", "items": INTEGER}),
          "load": (load, "write", ["face"], INTEGER)}

def answer(role, path, request):
    if path == "describe":  # its node asks that, and says it on
        return {"name": NAME, "skills": [
            {"path": path, "effect": effect, "doc": run.__doc__, "signature": f"({', '.join(names)})", "output": output,
             "input": {"type": "object", "properties": dict.fromkeys(names, INTEGER)}}
            for path, (run, effect, names, output) in SKILLS.items()]}
    if path not in SKILLS:
        raise Refused("not_found", f"there is no skill {path} here")
    run, effect, _, _ = SKILLS[path]
    if role not in MAY[effect]:
        raise Refused("permission_denied", f"{path} has the effect {effect}, which the role {role} does not permit")
    return run(*request.get("args", []), **request.get("kwargs", {}))

async def main():
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    async def closed(): ended.set()
    async def hear(message):
        role, caller, ci, *path = message.subject.split(".")[5:]  # the bus vouches for role and caller
        if ci != NAME or not message.reply.startswith(f"_INBOX.{caller}."):
            return  # a cancel; or an answer that is to go to somebody else, which none ever may
        try:
            headers, body = None, answer(role, ".".join(path), json.loads(message.data or "{}"))
        except Exception as error:
            code, text = error.args if isinstance(error, Refused) else ("invalid_argument", str(error))
            headers, body = {"Aigis-Error": code}, {"code": code, "message": text}
        await bus.publish(message.reply, json.dumps(body).encode(), headers=headers)
    tls = ssl.create_default_context(cafile=os.environ["AIGIS_CA"]) if "AIGIS_CA" in os.environ else None
    bus = await nats.connect(os.environ["AIGIS_BUS"].split(","), user_credentials=os.environ["AIGIS_CREDS"],
                             inbox_prefix=f"_INBOX.plugin-{NAME}".encode(), tls=tls, closed_cb=closed)
    await bus.subscribe(f"aigis.v1.{MESH}.to.{NAME}.>", cb=hear)
    loop.add_signal_handler(signal.SIGTERM, lambda: loop.create_task(bus.drain()))
    await ended.wait()  # told to end; or without a bus for good, and its node starts it again
asyncio.run(main())
