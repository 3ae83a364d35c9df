"""A second implementation of what BackStore stores, following protocol/PROTOCOL.md.

Prints test vectors as JSON. The Rust tests read them from protocol/tests/fixtures/vectors.json; see README.md here for how
they are made. Every input is fixed, so that the same program always prints the same bytes. Nothing here is fast or careful
with secrets: it is there to disagree.
"""

import json
import struct
import sys

import zstandard
from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


# Section 0: conventions

def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def zigzag(number):
    return varint(number << 1 if number >= 0 else ((-number) << 1) - 1)


def counted(data):
    return varint(len(data)) + data


def u32(number):
    return struct.pack("<I", number)


def u64(number):
    return struct.pack("<Q", number)


def keyed(key, message, length=32):
    return blake3(message, key=key).digest(length=length)


def derive(context, material):
    return blake3(material, derive_key_context="backstore 2026 v1 " + context).digest()


def noise(label, length):
    """Bytes without any pattern, for inputs."""
    return blake3(label.encode()).digest(length=length)


# Section 6: keys

ID_KEYS = {
    "data": "chunk-id data", "tree": "chunk-id tree", "body": "chunk-id body", "content": "content hash",
    "layout": "content layout", "table": "chunker tables", "bundle": "bundle cut", "chunk": "chunk hash",
    "boundary": "tree boundary", "map": "map boundary", "tags": "tag lineage",
}
DATA, BODY, SEALED_BOX, FACTOR, DEVICE_KEYS, NODE, LOCAL_CACHE = 1, 2, 3, 4, 5, 7, 8
PURPOSES = {DATA: "data-chunk", NODE: "tree-chunk", BODY: "snapshot-body", LOCAL_CACHE: "local-cache"}


class Keyring:
    def __init__(self, domain, generation, root, epochs):
        self.domain, self.generation, self.root, self.epochs = domain, generation, root, epochs
        self.scope = domain + u32(generation)
        self.ids = {name: derive(context, root + self.scope) for name, context in ID_KEYS.items()}

    def encode(self):
        out = self.domain + varint(self.generation) + self.root + varint(len(self.epochs))
        return out + b"".join(varint(at + 1) + key for at, key in enumerate(self.epochs))

    def check_value(self):
        return derive("key check", self.root + self.epochs[0] + self.scope)

    def seal_keys(self, klass, epoch):
        return seal_keys(PURPOSES[klass], self.epochs[epoch - 1] + self.scope)


def seal_keys(purpose, material):
    return derive("enc " + purpose, material), derive("salt " + purpose, material)


# Section 7: envelope

def padme(length):
    exponent = length.bit_length() - 1
    significant = exponent.bit_length()
    step = 1 << (exponent - significant)
    return (length + step - 1) // step * step


def sealed_length(klass, stored):
    return max(padme(104 + stored), 4096 if klass == DATA else 512)


def seal(keys, klass, kind, epoch, generation, ident, plain, stored=None):
    """Seals `plain`; `stored` is its compressed form, if that is what is to be stored."""
    encryption, salting = keys
    header = b"\x8bBK\x01" + bytes([1, klass, 0, 0]) + u32(epoch) + u32(generation)
    compression = 0 if stored is None else 1
    stored = plain if stored is None else stored
    inner = bytes([compression, kind, 0, 0]) + u32(len(plain)) + u32(len(stored)) + u32(0)
    salt = keyed(salting, header + ident + inner + stored, 24)
    both = keyed(encryption, header + salt + ident, 64)
    padding = bytes(sealed_length(klass, len(stored)) - 104 - len(stored))
    ciphertext = ChaCha20Poly1305(both[:32]).encrypt(bytes(12), inner + stored + padding, None)
    return header + salt + both[32:] + ciphertext


# Section 6: factors and sealed boxes

def x25519_public(private):
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def signing(seed):
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return key, key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


ARGON2ID = {1: (256 * 1024, 3), 2: (64 * 1024, 3), 3: (1024 * 1024, 2)}


def factor(password, salt, profile, ident, private):
    memory, passes = ARGON2ID[profile]
    stretched = hash_secret_raw(password, salt, passes, memory, 4, 64, Type.ID, 0x13)
    kek = derive("factor kek", stretched + ident)
    proof_key, proof_public = signing(derive("login proof", stretched + ident))
    public = x25519_public(private)
    wrapped = seal(seal_keys("factor", kek), FACTOR, 0, 0, 0, derive("factor id", public), private)
    challenge = noise("channel binding", 32)
    return {
        "password": password, "salt": salt, "profile": profile, "factor": ident, "private": private, "public": public,
        "wrapped": wrapped, "proof_public": proof_public, "challenge": challenge,
        "proof": proof_key.sign(b"backstore 2026 v1 login-proof\0" + challenge),
    }


def seal_box(recipient_private, ephemeral_private, account, kind, plain):
    recipient, ephemeral = x25519_public(recipient_private), x25519_public(ephemeral_private)
    shared = X25519PrivateKey.from_private_bytes(ephemeral_private).exchange(X25519PublicKey.from_public_bytes(recipient))
    key = derive("seal", ephemeral + recipient + shared + account + bytes(16))
    envelope = seal(seal_keys("sealed", key), SEALED_BOX, kind, 0, 0, derive("seal id", recipient), plain)
    return {
        "recipient_private": recipient_private, "recipient": recipient, "ephemeral": ephemeral_private,
        "account": account, "kind": kind, "plain": plain, "sealed": ephemeral + envelope,
    }


# Section 5 and 3: ids

def node_id(keyring, kind, level, references, payload):
    message = bytes([kind, level]) + u32(len(references)) + b"".join(references) + payload
    return keyed(keyring.ids["tree"], message)


# Section 2: content hash

def content_hash(keyring, runs):
    """`runs` are bytes for data and numbers for holes."""
    data = b"".join(run for run in runs if isinstance(run, bytes))
    hashed = keyed(keyring.ids["content"], data)
    pairs, data_run, hole = b"", 0, 0
    for run in [*runs, b"."]:
        if isinstance(run, bytes):
            if hole:
                pairs += varint(data_run) + varint(hole)
                data_run, hole = 0, 0
            data_run += len(run)
        else:
            hole += run
    if not pairs:
        return hashed[:16]
    return keyed(keyring.ids["layout"], hashed + blake3(pairs).digest())[:16]


# Section 5: chunks

def cut(gear, smallest, average, largest, data):
    bits = average.bit_length() - 1

    def mask(count):
        return sum(1 << (62 - at * 46 // count) for at in range(count))

    if len(data) <= smallest:
        return len(data)
    data = data[:largest]
    value = 0
    for at in range(smallest, len(data) & ~1):
        value = (value << 1) + gear[data[at]] & 0xFFFFFFFFFFFFFFFF
        if value & mask(bits + 1 if at < min(average, len(data)) & ~1 else bits - 1) == 0:
            return at
    return len(data)


def chunker_vector(keyring, smallest, average, largest, label, length):
    gear = struct.unpack("<256Q", keyed(keyring.ids["table"], b"", 2048))
    data, cuts = noise(label, length), []
    while data:
        cuts.append(cut(gear, smallest, average, largest, data))
        data = data[cuts[-1]:]
    return {"min": smallest, "average": average, "max": largest, "noise": label, "length": length, "cuts": cuts}


# Section 8: snapshot header and account log

def header_vector(name, seed, partial, previous, parent, seen):
    key, public = signing(seed)
    fields = {
        "partial": partial, "account": noise("account", 16), "device": noise("device", 16),
        "lineage": noise("lineage", 16), "generation": 1, "epoch": 2, "sequence": 7, "fencing": 3,
        "previous": previous, "parent": parent, "root": noise("root", 32), "level": 2, "body": noise("body", 32),
        "started": -1, "finished": 1_795_000_000_123, "log_head": noise("log head", 32), "domain": noise("domain", 16),
        "entries": 300_000, "bytes": 1 << 40,
        "seen": [{"lineage": lineage, "sequence": sequence, "snapshot": snapshot} for lineage, sequence, snapshot in seen],
    }
    out = b"\x8bBS\x01" + bytes([int(partial), 0, 0, 0]) + fields["account"] + fields["device"] + fields["lineage"]
    out += u32(1) + u32(2) + u64(7) + u64(3) + previous + parent + fields["root"] + bytes([2]) + bytes(7) + fields["body"]
    out += struct.pack("<qq", fields["started"], fields["finished"]) + fields["log_head"] + fields["domain"]
    out += u64(fields["entries"]) + u64(fields["bytes"]) + bytes(40) + u32(len(seen)) + bytes(4)
    assert len(out) == 344
    for lineage, sequence, snapshot in seen:
        out += lineage + u64(sequence) + snapshot
    stored = out + key.sign(b"backstore 2026 v1 snapshot-header\0" + out)
    return {"name": name, "seed": seed, "public": public, "fields": fields, "stored": stored, "id": blake3(stored).digest()}


def account_log(seed, keyring, unlocking):
    key, authority = signing(seed)
    names = ["tls", "sign", "seal"]
    device = noise("device", 16) + b"".join(noise("device " + name, 32) for name in names) + counted("Änne's laptop".encode())
    put = unlocking["factor"] + unlocking["public"] + bytes([unlocking["profile"]]) + unlocking["salt"] + unlocking["proof_public"]
    said = [
        varint(0) + noise("account", 16) + authority + keyring.check_value() + bytes([1]),
        varint(1) + device,
        varint(2) + put,
    ]
    stored, head = [], bytes(32)
    for sequence, what in enumerate(said):
        entry = varint(sequence) + head + zigzag(1_795_000_000_000 + sequence) + what
        stored.append(entry + key.sign(b"backstore 2026 v1 account-log\0" + entry))
        head = blake3(stored[-1]).digest()
    return {"seed": seed, "authority": authority, "stored": stored, "head": head}


# Section 3 and 4: where nodes end

def boundaries(keyring):
    tree = [noise(f"key {at}", 1 + at % 40) for at in range(2000)]
    hits = [at for at, key in enumerate(tree) if keyed(keyring.ids["boundary"], bytes([at % 3]) + key)[7] == 0]
    return {"keys": 2000, "hits": hits}


def vectors():
    keyring = Keyring(noise("domain", 16), 1, noise("root secret", 32), [noise("epoch 1", 32), noise("epoch 2", 32)])
    later = Keyring(noise("domain", 16), 3, noise("another root", 32), [noise("epoch 1", 32)])
    texts = [b"", b"hello, backup", noise("plain", 5000)]
    references = sorted(noise(f"reference {at}", 32) for at in range(3))
    nodes = [(2, 0, [], b"\0\0\0"), (2, 1, references, noise("payload", 700)), (3, 0, references[:1], b"map")]
    sparse = [[b"x"], [b"x", 1], [1, b"x"], [b"ab", 3, 4, b"c", 5, b"d"], [10 << 30], [b"a", b"b"], []]
    unlocking = factor(b"correct horse", noise("salt", 16), 2, noise("factor", 16), noise("factor private", 32))
    text = b"the quick brown fox jumps over the lazy dog\n" * 400
    sealings = [
        (DATA, 1, 1, texts[1], False), (DATA, 1, 2, noise("large", 9000), False), (DATA, 1, 2, text, True),
        (NODE, 2, 2, texts[2], False), (NODE, 3, 1, b"", False), (BODY, 4, 2, b"body", False),
        (LOCAL_CACHE, 2, 1, texts[1], False),
    ]
    envelopes = []
    for klass, kind, epoch, plain, is_compressed in sealings:
        ident = noise(f"id {klass} {kind} {len(plain)}", 32)
        stored = zstandard.ZstdCompressor(level=3).compress(plain) if is_compressed else None
        sealed = seal(keyring.seal_keys(klass, epoch), klass, kind, epoch, 1, ident, plain, stored)
        envelopes.append({
            "class": klass, "kind": kind, "epoch": epoch, "id": ident, "plain": plain, "compressed": is_compressed,
            "sealed": sealed,
        })
    seen = sorted((noise(f"lineage {at}", 16), at, noise(f"head {at}", 32)) for at in range(3))
    zero, seed = bytes(32), noise("device signing seed", 32)
    return {
        "keyrings": [
            {
                "domain": ring.domain, "generation": ring.generation, "root": ring.root, "epochs": ring.epochs,
                "encoded": ring.encode(), "check_value": ring.check_value(), "ids": ring.ids,
            }
            for ring in (keyring, later)
        ],
        "data_ids": [{"plain": text, "data": keyed(keyring.ids["data"], text), "body": keyed(keyring.ids["body"], text),
                      "chunk": keyed(keyring.ids["chunk"], text)[:16]} for text in texts],
        "node_ids": [{"kind": kind, "level": level, "references": refs, "payload": payload,
                      "id": node_id(keyring, kind, level, refs, payload)} for kind, level, refs, payload in nodes],
        "content_hashes": [{"runs": runs, "hash": content_hash(keyring, runs)} for runs in sparse],
        "boundaries": boundaries(keyring),
        "lengths": [{"class": klass, "stored": stored, "sealed": sealed_length(klass, stored)}
                    for klass in (DATA, NODE) for stored in (0, 1, 407, 408, 409, 3992, 3993, 65_536, 1_000_000, 4_194_200)],
        "envelopes": envelopes,
        "device_envelope": {
            "purpose": "device-keys", "material": noise("material", 32), "id": noise("id", 32), "plain": texts[1],
            "sealed": seal(seal_keys("device-keys", noise("material", 32)), DEVICE_KEYS, 0, 0, 0, noise("id", 32), texts[1]),
        },
        "factor": unlocking,
        "boxes": [
            seal_box(noise("recipient", 32), noise("ephemeral", 32), noise("account", 16), 1, keyring.encode()),
            seal_box(noise("recipient", 32), noise("ephemeral 2", 32), noise("account", 16), 2, noise("authority", 32)),
        ],
        "headers": [
            header_vector("first", seed, False, zero, zero, []),
            header_vector("partial", seed, True, noise("previous", 32), noise("parent", 32), seen),
        ],
        "account_log": account_log(noise("authority", 32), keyring, unlocking),
        "chunkers": [
            chunker_vector(keyring, 64, 256, 1024, "small chunks", 20_001),
            chunker_vector(keyring, 16_384, 65_536, 262_144, "default chunks", 1_500_000),
        ],
    }


def plain_json(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {name: plain_json(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_json(inner) for inner in value]
    return value


if __name__ == "__main__":
    json.dump(plain_json(vectors()), sys.stdout, indent=1, ensure_ascii=False)
    print()
