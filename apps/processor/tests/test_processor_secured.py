"""Both apps with a real broker and a store that demand TLS and a login.

A login that fails is an outage: it is named, and over as soon as it is mended.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AclOperation, ResourcePatternType, ResourceType
from gpu_token_contracts import TOPIC_GPU_METRICS, TOPIC_TOKEN_USAGE, Origin, dlq_topic, origin_headers
from gpu_token_contracts.login import kafka_security
from gpu_token_processor.disks import Disk, kafka_disks
from gpu_token_processor.pipeline.batch import Refusal
from gpu_token_processor.pipeline.dead_letters import DeadLettersUndelivered, DeadLetterTopics
from gpu_token_processor.pipeline.sent_letters import SentLetters
from gpu_token_processor.settings import from_environment
from processor_fakes import record
from processor_process import Process

from testing.authority import Authority
from testing.secured_broker import SecuredBroker
from testing.store import DATABASE, Store
from testing.waiting import until

pytestmark = pytest.mark.skipif(
    not (shutil.which("java") and shutil.which("mvn")), reason="a broker needs Java and Maven: make setup-lab"
)

WAIT_SECONDS = 60
TOPICS = [TOPIC_GPU_METRICS, TOPIC_TOKEN_USAGE]
LETTERS = [dlq_topic(topic) for topic in TOPICS]
PASSWORDS = {"processor": "processor-password-0", "producers": "producers-password-0"}
MONGO_PASSWORD = "mongo-password-of-the-app"
WRONG = "a-wrong-password-of-all"


@dataclass(frozen=True)
class Site:
    """Servers, and the files that a client is given."""

    broker: SecuredBroker
    store: Store
    folder: Path
    authority: Path
    stranger: Path

    def kafka(self, user: str, **changes: str) -> dict[str, str]:
        """The environment of a client of Kafka."""
        return {
            "KAFKA_BOOTSTRAP": self.broker.address,
            "KAFKA_USERNAME": user,
            "KAFKA_PASSWORD_FILE": self.file(PASSWORDS[user]),
            "KAFKA_CA_FILE": str(self.authority),
            **changes,
        }

    def processor(self, **changes: str) -> Process:
        """One that runs."""
        settings = {
            **self.kafka("processor"),
            "MONGO_URL": self.store.url,
            "MONGO_DATABASE": DATABASE,
            "MONGO_USERNAME": "processor",
            "MONGO_PASSWORD_FILE": self.file(MONGO_PASSWORD),
            "MONGO_CA_FILE": str(self.authority),
            **changes,
        }
        return Process(**settings)

    def produce(self, *arguments: str, **changes: str) -> "subprocess.CompletedProcess[str]":
        """What a command of the producers says."""
        return subprocess.run(
            [sys.executable, "-m", "gpu_token_producers", *arguments],
            env={**os.environ, **self.kafka("producers"), **changes},
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )

    def generate(self, run: str, **changes: str) -> "subprocess.CompletedProcess[str]":
        """Ten pairs, if they are taken within some seconds."""
        once = ["--count=10", "--pairs-per-second=100", "--wait-seconds=4", f"--host={run}"]
        return self.produce("generate", *once, HEALTH_FILE=str(self.folder / "health.json"), **changes)

    def file(self, secret: str) -> str:
        """A file that holds it."""
        path = self.folder / secret
        path.write_text(secret)
        return str(path)

    def stored(self, run: str) -> int:
        """Usage events of a run in the store."""
        with self.store.admin() as client:
            return client[DATABASE]["token_usage"].count_documents({"host": run})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("secured")
    ours, stranger = Authority(folder, "ours"), Authority(folder, "stranger")
    store = Store.secured(folder, ours)
    store.first_start()
    with store.running(), SecuredBroker(folder, ours) as broker:
        store.make_user("processor", MONGO_PASSWORD)
        broker.make_topics([*TOPICS, *LETTERS])
        for user, password in PASSWORDS.items():
            broker.set_password(user, password)
        broker.allow("producers", AclOperation.WRITE, TOPICS)
        broker.allow("producers", AclOperation.READ, LETTERS)
        prefixed = (ResourceType.GROUP, ResourcePatternType.PREFIXED)
        broker.allow("producers", AclOperation.READ, ["dead-letter-resend"], *prefixed)
        broker.allow("processor", AclOperation.READ, [*TOPICS, *LETTERS])
        broker.allow("processor", AclOperation.WRITE, LETTERS)
        broker.allow("processor", AclOperation.READ, ["gpu-token-processor"], ResourceType.GROUP)
        broker.allow("processor", AclOperation.DESCRIBE, ["dead-letter-search"], ResourceType.GROUP)
        # Kafka's own name of every cluster.
        broker.allow("processor", AclOperation.DESCRIBE, ["kafka-cluster"], ResourceType.BROKER)
        yield Site(broker, store, folder, ours.file, stranger.file)


def says(process: Process, part: str, sentence: str) -> None:
    """Wait until /health gives this reason for a part, and the processor is not ready."""
    until(lambda: sentence in (process.answer("/health")[part] or ""), f"{part}: {sentence}")
    assert process.status("/health/ready") == 503


def ready(process: Process) -> None:
    until(lambda: process.status("/health/ready") == 200, "ready")


def log_of(process: Process) -> str:
    process.popen.terminate()
    return process.popen.communicate(timeout=30)[0]


def test_events_and_dead_letters_flow(site: Site) -> None:
    client = {"bootstrap.servers": site.broker.address}
    client |= kafka_security("producers", site.file(PASSWORDS["producers"]), str(site.authority))
    with site.processor() as process:
        ready(process)
        assert site.generate("flow").returncode == 0
        producer = Producer(client)
        producer.produce(TOPIC_TOKEN_USAGE, b"no event")
        assert producer.flush(WAIT_SECONDS) == 0
        del producer
        until(lambda: site.stored("flow") == 10, "stored")
        until(lambda: process.answer("/dead-letters")["total"] == 1, "a dead letter")
        done = site.produce("resend-dead-letters")
        assert '"resent":1' in done.stdout, done.stderr
        said = log_of(process)
    assert process.popen.returncode == 0
    assert "Kafka: " not in said
    assert "does not answer" not in said


def test_dead_letters_are_found_again_after_a_crash(site: Site) -> None:
    moment = datetime.now(UTC)
    client = {"bootstrap.servers": site.broker.address}
    client |= kafka_security("processor", site.file(PASSWORDS["processor"]), str(site.authority))
    producer = Producer(client)
    producer.produce(LETTERS[0], b"{}", headers=origin_headers(Origin(TOPICS[0], 1, 7)))
    assert producer.flush(WAIT_SECONDS) == 0
    del producer
    assert f"{TOPICS[0]}:1:7" in SentLetters(client).since(moment, LETTERS)


@pytest.mark.parametrize("part", ["kafka", "mongodb"])
def test_a_wrong_password_is_named_and_an_outage(site: Site, part: str) -> None:
    name = {"kafka": "KAFKA", "mongodb": "MONGO"}[part]
    server = {"kafka": site.broker, "mongodb": site.store}[part]
    right = {"kafka": PASSWORDS["processor"], "mongodb": MONGO_PASSWORD}[part]
    run = f"wrong-password-{part}"
    with site.processor(**{f"{name}_PASSWORD_FILE": site.file(WRONG)}) as process:
        says(process, part, f"refuses the login, check {name}_USERNAME and {name}_PASSWORD_FILE")
        assert site.generate(run).returncode == 0
        time.sleep(3)
        assert site.stored(run) == 0
        server.set_password("processor", WRONG)
        try:
            ready(process)
            until(lambda: site.stored(run) == 10, "stored")
        finally:
            server.set_password("processor", right)
        said = log_of(process)
    assert f"refuses the login, check {name}_USERNAME" in said
    assert len(said.splitlines()) < 60
    assert WRONG not in said
    assert right not in said


@pytest.mark.parametrize("part", ["kafka", "mongodb"])
def test_a_wrong_authority_is_named(site: Site, part: str) -> None:
    variable = {"kafka": "KAFKA_CA_FILE", "mongodb": "MONGO_CA_FILE"}[part]
    with site.processor(**{variable: str(site.stranger)}) as process:
        says(process, part, f"check {variable}")
        said = log_of(process)
    assert f"check {variable}" in said
    assert "certificate" in said


def test_a_user_without_rights_yet_is_an_outage(site: Site) -> None:
    """An idempotent producer is then refused for good, and must be replaced."""
    user, password = "newcomer", "newcomer-password-0"
    site.broker.set_password(user, password)
    client = {"bootstrap.servers": site.broker.address}
    client |= kafka_security(user, site.file(password), str(site.authority))
    sink = DeadLetterTopics(lambda: Producer(DeadLetterTopics.config(client)), SentLetters(client))
    letter = Refusal(record(b"no event", topic=TOPICS[0]), "invalid_json", "why.")
    for _ in range(2):
        with pytest.raises(DeadLettersUndelivered, match="not delivered"):
            sink.send([letter])
    site.broker.allow(user, AclOperation.WRITE, LETTERS)
    until(lambda: sent(sink, letter), "sent")


def sent(sink: DeadLetterTopics, letter: Refusal) -> bool:
    try:
        sink.send([letter])
    except DeadLettersUndelivered:
        return False
    return True


def test_only_who_may_describe_the_cluster_is_told_of_its_disks(site: Site) -> None:
    def ask(user: str) -> Sequence[Disk]:
        return kafka_disks(from_environment({**site.kafka(user), "MONGO_URL": site.store.url}))()

    [disk] = ask("processor")
    assert (disk.name, 0 < disk.used_bytes < disk.total_bytes) == ("kafka-1", True)
    with pytest.raises(LookupError, match=r"^broker 1 does not tell: its user needs the right"):
        ask("producers")


def test_producers_without_rights_end_with_a_sentence(site: Site) -> None:
    site.broker.set_password("observer", PASSWORDS["producers"])
    site.broker.allow("observer", AclOperation.DESCRIBE, TOPICS)
    done = site.generate("observer", KAFKA_USERNAME="observer")
    assert done.returncode == 1
    assert "for good: " in done.stderr
    assert "uthorization failed" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_client_in_plain_text_is_not_served(site: Site) -> None:
    plain = dict.fromkeys(("KAFKA_USERNAME", "KAFKA_PASSWORD_FILE", "KAFKA_CA_FILE"), "")
    done = site.generate("plain", **plain)
    assert done.returncode == 1
    assert "did not answer" in done.stderr


@pytest.mark.parametrize(
    ("variable", "remedy"),
    [
        ("KAFKA_PASSWORD_FILE", "Kafka refuses the login, check KAFKA_USERNAME and KAFKA_PASSWORD_FILE"),
        ("KAFKA_CA_FILE", "Kafka's certificate is not accepted, check KAFKA_CA_FILE"),
    ],
)
def test_producers_name_what_is_wrong(site: Site, variable: str, remedy: str) -> None:
    value = site.file(WRONG) if variable == "KAFKA_PASSWORD_FILE" else str(site.stranger)
    done = site.generate("producers", **{variable: value})
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert remedy in done.stderr
    assert WRONG not in done.stderr.replace(value, "")


def test_half_a_login_ends_the_producers_at_once(site: Site) -> None:
    done = site.generate("half", KAFKA_CA_FILE="")
    assert done.returncode == 1
    assert done.stderr.startswith("KAFKA_USERNAME is 'producers', KAFKA_PASSWORD_FILE is ")
    assert "but KAFKA_CA_FILE is not set" in done.stderr
