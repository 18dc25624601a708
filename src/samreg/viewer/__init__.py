"""The viewer: a run folder goes in, and a page on this machine comes out, in which its pairs are looked at, corrected
and registered again.

    browser ── security.Guard ── app ── session.Session ──┬── scene.Scene, edits.Edits (this process)
                                                          └── worker.Worker (processes): tasks
"""

from samreg.viewer.server import serve

__all__ = ["serve"]
