"""Where symbolic links lead, told from the links alone.   (pure)

A target that stays inside by its letters may still leave through another link: with ``d -> .`` the target ``d/..``
is the directory above the release. So once everything is unpacked, each link is resolved as the kernel would
(path_resolution(7)), with two differences that only make it stricter: what does not exist counts as a directory, for
it may exist later, and no chain of links is too long.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

_Frame = tuple[bytes, bytes, list[bytes]]  # the link, where its resolution has come to, the components to go


def is_leaving(directory: bytes, target: bytes) -> bool:
    """Whether ``target``, of a link in ``directory`` (b"" is the release itself), leaves by its letters."""
    if target.startswith(b"/"):
        return True
    depth = len(directory.split(b"/")) if directory else 0
    for part in target.split(b"/"):
        if part == b"..":
            depth -= 1
            if depth < 0:
                return True
        elif part not in (b"", b"."):
            depth += 1
    return False


def find_leaving(links: Mapping[bytes, bytes], beyond: Collection[bytes] = ()) -> bytes | None:
    """The first link whose resolution leaves the release, None if none does.

    ``links`` maps each link's path to its target. ``beyond`` are paths that will lead out of the release by the
    administrator's will (the entries of ``shared``, which take the place of what the upload holds there): a link may
    lead to them and below, but not up from there.
    """
    ends: dict[bytes, bytes | None] = {}  # None: it leads in a circle, so nowhere
    staying = {link: target for link, target in links.items() if not _is_beyond(link, beyond)} if beyond else links
    for link, target in staying.items():
        if target.startswith(b"/") or (link not in ends and not _resolve(link, staying, beyond, ends)):
            return link
    return None


def _resolve(
    link: bytes, links: Mapping[bytes, bytes], beyond: Collection[bytes], ends: dict[bytes, bytes | None]
) -> bool:
    """Enter into ``ends`` where ``link``, and each link on its way, leads to. False if one leaves."""
    stack = [_begin(link, links)]
    pending = {link}
    while stack:
        current, path, parts = stack[-1]
        while parts:
            part = parts.pop()
            if part == b"..":
                if not path or _is_beyond(path, beyond):
                    return False
                path = path.rpartition(b"/")[0]
                continue
            inner = path + b"/" + part if path else part
            if inner not in links:
                path = inner
            elif inner in ends or inner in pending:
                end = ends.get(inner)  # pending: a circle
                if end is None:
                    parts.clear()
                    ends[current] = None
                else:
                    path = end
            else:
                parts.append(part)  # again, once the inner link is known
                stack[-1] = (current, path, parts)
                stack.append(_begin(inner, links))
                pending.add(inner)
                break
        else:
            ends.setdefault(current, path)
            pending.discard(current)
            stack.pop()
    return True


def _begin(link: bytes, links: Mapping[bytes, bytes]) -> _Frame:
    parts = [part for part in links[link].split(b"/") if part not in (b"", b".")]
    return link, link.rpartition(b"/")[0], parts[::-1]


def _is_beyond(path: bytes, beyond: Collection[bytes]) -> bool:
    return any(path == place or path.startswith(place + b"/") for place in beyond)
