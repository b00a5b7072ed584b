"""Tries to get in where it should not; runs on the machines, with the two clients that the test brings along.

Reads from standard input what it may know: addresses, the authority's certificate, logins of other roles.
Prints for each attempt who or what refused it; ``LET IN`` where nobody did.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import bson
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka_login import LoginRefused, login
from pymongo import MongoClient
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError

PATIENCE_SECONDS = 8
# How TLS says that it heard something else.
TLS_ALERT = b"\x15\x03"
# Kafka's request for the metadata of every topic; MongoDB's hello.
TOPICS_PLEASE = struct.pack(">ihhihi", 14, 3, 0, 1, -1, 0)
_HELLO = bson.encode({"hello": 1, "$db": "admin"})
HELLO = struct.pack("<iiiiIB", 21 + len(_HELLO), 1, 0, 2013, 0, 0) + _HELLO
Attempt = tuple[str, str, Callable[[], object]]


class Attacker:
    """All attempts, by what is known."""

    def __init__(self, known: dict[str, Any]) -> None:
        self.known = known
        with tempfile.NamedTemporaryFile("w", suffix=".pem", delete=False) as file:
            file.write(known["ca"])
        self.ca_file = file.name

    def attempts(self) -> Iterator[Attempt]:
        """Service, what is tried, and how."""
        yield from self.on_kafka()
        yield from self.on_mongo()
        yield from self.on_api()

    def on_kafka(self) -> Iterator[Attempt]:
        """The broker: who are you, and what may you?"""
        producers, processor = self.login("producers"), self.login("processor")
        swapped, usage = self.known["kafka_passwords"]["processor"], self.known["usage_topic"]
        yield "kafka", "without TLS", lambda: self.say("kafka", TOPICS_PLEASE, secure=False)
        yield "kafka", "without a login", lambda: self.say("kafka", TOPICS_PLEASE)
        yield "kafka", "with a wrong password", lambda: self.log_in("producers", "x" * 32)
        yield "kafka", "with another's password", lambda: self.log_in("producers", swapped)
        yield "kafka", "as producers: read usage", lambda: self.read(producers, usage)
        yield "kafka", "as producers: write dead letters", lambda: self.write(producers, f"{usage}.dlq")
        yield "kafka", "as producers: make a topic", lambda: self.make_topic(producers)
        yield "kafka", "as processor: write usage", lambda: self.write(processor, usage)
        yield "kafka", "as processor: make a topic", lambda: self.make_topic(processor)
        yield "kafka", "with bytes that are no request", lambda: self.say("kafka", b"\x16\x03\x01" * 99)
        yield "kafka", "with a request of 2 GB", lambda: self.say("kafka", b"\x7f\xff\xff\xff\x00\x12")

    def on_mongo(self) -> Iterator[Attempt]:
        """The store: the same questions."""
        tls = {"tls": True, "tlsCAFile": self.ca_file}
        user = {**tls, "username": "processor", "authSource": "gpu_token"}
        right = {**user, "password": self.known["mongo_password"]}
        yield "mongo", "without TLS", lambda: self.say("mongo", HELLO, secure=False)
        yield "mongo", "without a login", lambda: self.databases(tls)
        yield "mongo", "with a wrong password", lambda: self.databases({**user, "password": "x" * 32})
        kafkas = {**user, "password": self.known["kafka_passwords"]["processor"]}
        yield "mongo", "with the password for Kafka", lambda: self.databases(kafkas)
        yield "mongo", "as processor: list databases", lambda: self.databases(right)
        yield (
            "mongo",
            "as processor: read the users",
            lambda: self.users(right),
        )
        yield "mongo", "as processor: write elsewhere", lambda: self.client(right).other.any.insert_one({})
        make = {"createUser": "x", "pwd": "x" * 32, "roles": []}
        yield "mongo", "as processor: make a user", lambda: self.client(right).gpu_token.command(make)

    def on_api(self) -> Iterator[Attempt]:
        """The API: the same, and requests that are none."""
        url = f"http://{self.known['api']}"
        for path in ("/usage", "/cost", "/throughput", "/gpu/info", "/dead-letters"):
            yield "api", f"{path} without a token", lambda path=path: self.get(url + path)
        yield (
            "api",
            "with a wrong token",
            lambda: self.get(url + "/usage", Authorization="Bearer " + "x" * 32),
        )
        password = "Bearer " + self.known["mongo_password"]
        yield "api", "with another's secret", lambda: self.get(url + "/usage", Authorization=password)
        yield "api", "with a body of 8 MiB", lambda: self.get(url + "/usage", body=b"x" * 2**23)
        yield "api", "with a header of 1 MiB", lambda: self.get(url + "/usage", Authorization="x" * 2**20)
        yield "api", "out of its folder", lambda: self.get(url + "/..%2f..%2frun/secrets/api-token")

    def floods(self) -> Iterator[Attempt]:
        """Those that use up what this machine may, so that others would not be refused for themselves."""
        url = f"http://{self.known['api']}"
        yield "api", "beside 505 silent connections", lambda: self.beside_silent_ones(url, b"")
        half = b"GET /usage HTTP/1.1\r\nHost: "
        yield "api", "beside 505 half requests", lambda: self.beside_silent_ones(url, half)
        yield "api", "with ever another address", lambda: self.under_false_names(url)

    def login(self, user: str) -> dict[str, Any]:
        """kafka-python's settings of a user."""
        return {
            "security_protocol": "SASL_SSL",
            "ssl_cafile": self.ca_file,
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": user,
            "sasl_plain_password": self.known["kafka_passwords"][user],
        }

    def log_in(self, user: str, password: str) -> None:
        """kafka-python would try again until its time is over; the role's own login tells at once."""
        host, port = self.known["kafka"].split(":")
        login((host, int(port)), self.ca_file, user, password)

    def consumer(self, settings: dict[str, Any]) -> KafkaConsumer:
        return KafkaConsumer(
            bootstrap_servers=self.known["kafka"], bootstrap_timeout_ms=PATIENCE_SECONDS * 1000, **settings
        )

    def read(self, settings: dict[str, Any], topic: str) -> object:
        consumer = self.consumer({**settings, "auto_offset_reset": "earliest"})
        consumer.assign([TopicPartition(topic, partition) for partition in range(3)])
        return consumer.poll(timeout_ms=PATIENCE_SECONDS * 1000)

    def write(self, settings: dict[str, Any], topic: str) -> object:
        producer = KafkaProducer(
            bootstrap_servers=self.known["kafka"],
            bootstrap_timeout_ms=PATIENCE_SECONDS * 1000,
            max_block_ms=PATIENCE_SECONDS * 1000,
            retries=0,
            **settings,
        )
        return producer.send(topic, b"attack").get(timeout=PATIENCE_SECONDS)

    def make_topic(self, settings: dict[str, Any]) -> object:
        admin = KafkaAdminClient(
            bootstrap_servers=self.known["kafka"], bootstrap_timeout_ms=PATIENCE_SECONDS * 1000, **settings
        )
        return admin.create_topics([NewTopic("attack", num_partitions=1, replication_factor=1)])

    def say(self, service: str, data: bytes, *, secure: bool = True) -> bytes:
        """Send bytes and give the answer; a service that wants no more of them hangs up."""
        host, port = self.known[service].split(":")
        context = ssl.create_default_context(cafile=self.ca_file)
        with socket.create_connection((host, int(port)), PATIENCE_SECONDS) as plain:
            wrapped = context.wrap_socket(plain, server_hostname=host) if secure else plain
            wrapped.sendall(data)
            answer = wrapped.recv(64)
            if answer and not answer.startswith(TLS_ALERT):
                return answer
        raise ConnectionResetError

    def client(self, settings: dict[str, Any]) -> MongoClient[dict[str, Any]]:
        host, port = self.known["mongo"].split(":")
        return MongoClient(host, int(port), serverSelectionTimeoutMS=PATIENCE_SECONDS * 1000, **settings)

    def databases(self, settings: dict[str, Any]) -> object:
        return self.client(settings).list_database_names()

    def users(self, settings: dict[str, Any]) -> object:
        return self.client(settings).admin["system.users"].find_one()

    def beside_silent_ones(self, url: str, sent: bytes) -> object:
        """A question while this machine holds connections that send no whole request."""
        host, port = self.known["api"].split(":")
        with ExitStack() as held:
            for _ in range(505):
                one = socket.create_connection((host, int(port)), PATIENCE_SECONDS)
                held.enter_context(one).sendall(sent)
            return self.get(url + "/usage")

    def under_false_names(self, url: str) -> None:
        """Far more requests than one address may send; raises the first refusal."""
        for number in range(300):
            self.get(url + "/metrics", **{"X-Forwarded-For": f"10.99.{number // 250}.{number % 250 + 1}"})

    def get(self, url: str, body: bytes | None = None, **headers: str) -> object:
        request = urllib.request.Request(url, data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return answer.read(64)


def answer(attempt: Callable[[], object]) -> str:
    """Who or what refused it."""
    try:
        attempt()
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}"
    except urllib.error.URLError as error:
        return "hung up" if isinstance(error.reason, ConnectionError) else "no answer"
    except OperationFailure as error:
        return f"MongoDB {error.code}"
    except LoginRefused:
        return "login refused"
    except ConnectionError:
        return "hung up"
    except (TimeoutError, KafkaTimeoutError, ServerSelectionTimeoutError):
        return "no answer"
    except KafkaError as error:
        return type(error).__name__
    return "LET IN"


if __name__ == "__main__":
    attacker = Attacker(json.load(sys.stdin))
    attempts = list(attacker.attempts())
    with ThreadPoolExecutor(len(attempts)) as pool:
        answers = list(pool.map(answer, (attempt for _, _, attempt in attempts)))
    for flood in attacker.floods():
        attempts.append(flood)
        answers.append(answer(flood[2]))
    print(json.dumps([[*attempt[:2], said] for attempt, said in zip(attempts, answers, strict=True)]))
