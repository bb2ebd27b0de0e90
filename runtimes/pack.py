"""Writes an OCI image archive of a base tar with a folder over it. The same input gives the same bytes.

Usage: pack.py BASE.tar OVERLAY_DIR IMAGE.json OUT.tar NAME
"""

import hashlib
import io
import json
import os
import sys
import tarfile

CHUNK_BYTES = 1 << 20


def overlay_layer(folder):
    """The folder as a tar: owned by root, of no time, executable where it is."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, folders, files in os.walk(folder):
            folders.sort()
            for name in sorted([*folders, *files]):
                full = os.path.join(path, name)
                entry = tar.gettarinfo(full, os.path.relpath(full, folder))
                entry.uid = entry.gid = entry.mtime = 0
                entry.uname = entry.gname = ""
                entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
                if entry.isfile():
                    with open(full, "rb") as file:
                        tar.addfile(entry, file)
                else:
                    tar.addfile(entry)
    return data.getvalue()


def digest_of(path):
    """The file's digest as OCI writes it."""
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


class Archive:
    """An OCI layout in a tar."""

    def __init__(self, tar):
        self.tar = tar

    def file(self, name, stream, size):
        """Adds a file from a stream."""
        entry = tarfile.TarInfo(name)
        entry.size = size
        self.tar.addfile(entry, stream)

    def blob(self, kind, data):
        """Adds a small blob and describes it."""
        digest = hashlib.sha256(data).hexdigest()
        self.file(f"blobs/sha256/{digest}", io.BytesIO(data), len(data))
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}


def main(base, folder, config_path, out, name):
    """Puts it all together; the archive appears whole or not at all."""
    with open(config_path, encoding="utf-8") as file:
        config = json.load(file)
    base_digest, overlay = digest_of(base), overlay_layer(folder)
    with tarfile.open(out + ".new", "w", format=tarfile.GNU_FORMAT) as tar:
        archive = Archive(tar)
        layout = b'{"imageLayoutVersion":"1.0.0"}'
        archive.file("oci-layout", io.BytesIO(layout), len(layout))
        size = os.path.getsize(base)
        with open(base, "rb") as file:
            archive.file("blobs/sha256/" + base_digest.removeprefix("sha256:"), file, size)
        layers = [
            {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": base_digest, "size": size},
            archive.blob("layer.v1.tar", overlay),
        ]
        image = {
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        }
        described = archive.blob("config.v1+json", json.dumps(image, sort_keys=True).encode())
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": described,
            "layers": layers,
        }
        entry = archive.blob("manifest.v1+json", json.dumps(manifest, sort_keys=True).encode())
        entry["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
        index = json.dumps({"schemaVersion": 2, "manifests": [entry]}, sort_keys=True).encode()
        archive.file("index.json", io.BytesIO(index), len(index))
    os.replace(out + ".new", out)


if __name__ == "__main__":
    main(*sys.argv[1:])
