/** `postern hash`: reads a password from standard input and prints the form that `accounts:` takes. */
import { text } from "node:stream/consumers";
import { hashPassword } from "../directory/password.ts";
import { scramKeys } from "../smtp/incoming/scram.ts";
import type { Command } from "./command.ts";

export const command: Command = {
  name: "hash",
  summary: "hash a password for the configuration",
  help:
    "Usage: printf %s 'the password' | postern hash [--scram]\n\n" +
    "Prints $scrypt$… for accounts[].password, or with --scram SCRAM-SHA-256$… for accounts[].scram.",
  async run(argv, io) {
    if (argv.some((word) => word !== "--scram")) {
      io.err("postern hash: only --scram is known\n");
      return 2;
    }
    const password = (await text(process.stdin)).replace(/\r?\n$/, "");
    if (password === "") {
      io.err("postern hash: no password on standard input\n");
      return 2;
    }
    io.out(`${await (argv.length > 0 ? scramKeys(password) : hashPassword(password))}\n`);
    return 0;
  },
};
