"""A filter that does to each message what its X-Actions field says: a JSON list of [method, arguments...] calls.

Run as: python3 milter-actions.py inet:PORT@127.0.0.1
"""

import json
import sys

import Milter


class Actions(Milter.Base):
    def __init__(self):
        self.id = Milter.uniqueID()
        self.calls = []

    def envfrom(self, sender, *args):
        self.calls = []
        return Milter.CONTINUE

    def header(self, name, value):
        if name.lower() == "x-actions":
            self.calls = json.loads(value)
        return Milter.CONTINUE

    def eom(self):
        for method, *arguments in self.calls:
            if method == "reply":
                self.setreply(*arguments)
                return Milter.REJECT if arguments[0].startswith("5") else Milter.TEMPFAIL
            if method in ("reject", "tempfail", "discard", "accept"):
                return getattr(Milter, method.upper())
            if method == "replacebody":
                arguments = [a.encode() for a in arguments]
            getattr(self, method)(*arguments)
        return Milter.CONTINUE


Milter.factory = Actions
Milter.set_flags(
    Milter.ADDHDRS | Milter.CHGBODY | Milter.ADDRCPT | Milter.DELRCPT | Milter.CHGHDRS
    | Milter.QUARANTINE | Milter.CHGFROM | Milter.ADDRCPT_PAR
)
Milter.runmilter("actions", sys.argv[1], 240)
