"""What docker-py does, a line for each operation."""
import io
import json
import os
import sys
import tarfile

import docker

IMAGE = os.environ["PEERS_IMAGE"]
PORT = 28471
client = docker.from_env(timeout=60)
api = client.api


def say(op, call, pick=lambda answer: answer):
    """Prints what it answers, or how it is refused."""
    try:
        answer = pick(call())
    except docker.errors.APIError as error:
        answer = f"refused: {error.status_code}: {error.explanation}"
    except docker.errors.DockerException as error:
        answer = f"failed: {type(error).__name__}: {error}"
    if isinstance(answer, bytes):
        answer = answer.decode(errors="replace")
    print(json.dumps({"op": op, "answer": answer}, sort_keys=True, default=str))
    sys.stdout.flush()


def shape(value):
    """The keys of an answer, without what they say."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def tar_of(name, text):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
    file.seek(0)
    return file


for old in client.containers.list(all=True, filters={"label": "peers"}):
    old.remove(force=True, v=True)
label = {"labels": {"peers": "yes"}}

say("ping", client.ping)
say("version", client.version)
say("info", client.info, lambda info: {key: info[key] for key in ("Driver", "OSType", "Architecture", "CgroupDriver", "DefaultRuntime")})
say("images", lambda: client.images.list(IMAGE), lambda images: [image.tags for image in images])
say("image inspect", lambda: client.images.get(IMAGE).attrs, lambda attrs: {key: attrs[key] for key in ("Id", "RepoTags", "Architecture", "Config")})
say("image that is not there", lambda: client.images.get("peers-none"))
say("pull from nowhere", lambda: client.images.pull("127.0.0.1:1/none", "x"), str)
say("tag", lambda: client.images.get(IMAGE).tag("peers-tag", "a"))
say("save", lambda: len(b"".join(client.images.get("peers-tag:a").save())) > 1 << 20)
say("history", lambda: client.images.get("peers-tag:a").history(), len)
say("untag", lambda: client.images.remove("peers-tag:a"))
say("build", lambda: client.images.build(fileobj=io.BytesIO(f"FROM {IMAGE}\nRUN echo built > /built\nLABEL a=b\n".encode()), tag="peers-built", rm=True)[0].labels)
say("run of what was built", lambda: client.containers.run("peers-built", "cat /built", remove=True))
say("build that fails", lambda: client.images.build(fileobj=io.BytesIO(f"FROM {IMAGE}\nRUN false\n".encode()), rm=True), str)
say("remove what was built", lambda: client.images.remove("peers-built"))
say("run", lambda: client.containers.run(IMAGE, "echo hello", remove=True))
say("run with errors", lambda: client.containers.run(IMAGE, ["sh", "-c", "echo out; echo err >&2"], remove=True, stderr=True))
say("run that fails", lambda: client.containers.run(IMAGE, ["sh", "-c", "exit 3"], remove=True))
say("run of no program", lambda: client.containers.run(IMAGE, "nothing-there", remove=True))
say("environment and folder", lambda: client.containers.run(IMAGE, ["sh", "-c", "echo $A; pwd; id -u"], environment={"A": "ü b"}, working_dir="/etc", user="7", remove=True))
say("create", lambda: client.containers.create(IMAGE, "sleep 1000", name="peers-one", hostname="one", ports={"80/tcp": PORT}, **label), lambda made: made.status)
say("the same name", lambda: client.containers.create(IMAGE, "true", name="peers-one"))
one = client.containers.get("peers-one")
say("start", one.start)
say("start again", one.start)
say("inspect", lambda: api.inspect_container("peers-one"), lambda all: shape({key: all[key] for key in ("State", "Config", "NetworkSettings", "Mounts")}))
say("ports", lambda: api.inspect_container("peers-one"), lambda all: all["NetworkSettings"]["Ports"])
say("list", lambda: api.containers(filters={"label": "peers"}), lambda all: [(c["Names"], c["Image"], c["State"], c["Ports"]) for c in all])
say("exec", lambda: one.exec_run(["sh", "-c", "echo in; echo bad >&2; exit 4"], demux=True), lambda done: [done.exit_code, *(part.decode() for part in done.output)])
say("exec with a terminal", lambda: one.exec_run("echo in", tty=True), lambda done: [done.exit_code, done.output.decode()])
say("exec in the background", lambda: one.exec_run("touch /touched", detach=True), lambda done: done.exit_code)
say("exec of no program", lambda: one.exec_run("nothing-there"), lambda done: done.exit_code)


def speak():
    made = api.exec_create("peers-one", "cat", stdin=True)
    socket = api.exec_start(made["Id"], socket=True)
    raw = getattr(socket, "_sock", socket)
    raw.sendall(b"spoken\n")
    raw.shutdown(1)
    said = b"".join(iter(lambda: raw.recv(4096), b""))
    return said[8:], api.exec_inspect(made["Id"])["ExitCode"]


say("exec with input", speak, lambda said: [said[0].decode(), said[1]])
say("put", lambda: one.put_archive("/", tar_of("put.txt", b"a file\n")))
say("what was put", lambda: one.exec_run("cat /put.txt"), lambda done: done.output)
say("get", lambda: b"".join(one.get_archive("/put.txt")[0]), lambda tar: b"a file\n" in tar)
say("get what is not there", lambda: one.get_archive("/none"))
say("diff", one.diff, lambda all: sorted(change["Path"] for change in all if change["Path"] in ("/put.txt", "/touched")))
say("top", lambda: one.top(), lambda all: [all["Titles"], len(all["Processes"])])
say("stats", lambda: one.stats(stream=False), lambda all: sorted(all))
say("pause", one.pause)
say("exec while paused", lambda: one.exec_run("true"), str)
say("unpause", one.unpause)
say("rename", lambda: one.rename("peers-two"))
say("update", lambda: api.update_container("peers-two", mem_limit=64 << 20, memswap_limit=64 << 20), lambda all: all["Warnings"])
say("commit", lambda: one.commit("peers-committed", "a"), lambda image: image.tags)
say("run of the commit", lambda: client.containers.run("peers-committed:a", "cat /put.txt", remove=True))
say("remove the commit", lambda: client.images.remove("peers-committed:a"))
say("restart", lambda: one.restart(timeout=0))
say("kill", lambda: one.kill("KILL"))
say("wait", lambda: one.wait(), lambda done: done["StatusCode"])
say("kill what does not run", lambda: one.kill())
say("export", lambda: sum(map(len, one.export())) > 1 << 20)
say("remove", lambda: one.remove(v=True))
say("what is gone", lambda: client.containers.get("peers-two"))
say("logs", lambda: client.containers.run(IMAGE, ["sh", "-c", "for i in 1 2 3; do echo $i; done; sleep 1000"], name="peers-logs", detach=True, init=True, **label), lambda made: made.name)
logs = client.containers.get("peers-logs")
stream = logs.logs(stream=True, follow=True)
say("followed logs", lambda: [next(stream) for _ in range(3)], lambda lines: b"".join(lines))
say("the last line", lambda: logs.logs(tail=1))
say("with times", lambda: logs.logs(timestamps=True, tail=1))
say("stop", lambda: logs.stop(timeout=1))
say("its end", lambda: logs.wait()["StatusCode"])
say("force", lambda: logs.remove(force=True))
say("a healthy one", lambda: client.containers.run(IMAGE, "sleep 1000", name="peers-health", detach=True, healthcheck={"test": ["CMD", "true"], "interval": 10**9}, **label), lambda made: made.name)
for _ in range(200):
    if api.inspect_container("peers-health")["State"]["Health"]["Status"] != "starting":
        break
    client.containers.get("peers-health").exec_run("sleep 0.1")
say("health", lambda: api.inspect_container("peers-health")["State"]["Health"]["Status"])
since = client.info()["SystemTime"]
say("removed", lambda: client.containers.get("peers-health").remove(force=True))
say("volume", lambda: client.volumes.create("peers-volume", labels={"peers": "yes"}), lambda volume: volume.attrs["Mountpoint"])
say("kept in it", lambda: client.containers.run(IMAGE, ["sh", "-c", "echo kept > /v/file"], volumes={"peers-volume": {"bind": "/v"}}, remove=True))
say("still there", lambda: client.containers.run(IMAGE, "cat /v/file", volumes={"peers-volume": {"bind": "/v", "mode": "ro"}}, remove=True))
say("read-only", lambda: client.containers.run(IMAGE, "touch /v/other", volumes={"peers-volume": {"bind": "/v", "mode": "ro"}}, remove=True))
say("volumes", lambda: client.volumes.list(filters={"label": "peers"}), lambda all: [volume.name for volume in all])
say("remove the volume", lambda: client.volumes.get("peers-volume").remove())
say("network", lambda: client.networks.create("peers-net", labels={"peers": "yes"}), lambda made: made.name)
say("in it", lambda: client.containers.run(IMAGE, "sleep 1000", name="peers-net-a", network="peers-net", detach=True, **label), lambda made: made.name)
say("connected to another", lambda: client.networks.get("bridge").connect("peers-net-a"))
say("its networks", lambda: sorted(api.inspect_container("peers-net-a")["NetworkSettings"]["Networks"]))
say("a network in use", lambda: client.networks.get("peers-net").remove())
say("disconnected", lambda: client.networks.get("bridge").disconnect("peers-net-a"))
say("gone with it", lambda: client.containers.get("peers-net-a").remove(force=True))
say("remove the network", lambda: client.networks.get("peers-net").remove())
say("a bad request", lambda: api._result(api._post_json(api._url("/containers/create"), data={"Image": 7}), json=True))
say("a folder that is not there", lambda: client.containers.run(IMAGE, "true", mounts=[docker.types.Mount("/m", "/var/lib/docker/none-such", type="bind")], remove=True))
say("a call that is not there", lambda: api._result(api._get(api._url("/none-such"))))
say("pruned", lambda: client.containers.prune(filters={"label": "peers"}), lambda all: all["ContainersDeleted"])
say("swarm", lambda: client.swarm.attrs, str)
