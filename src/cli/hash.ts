/** `postern hash`: reads a password from standard input and prints the form that `accounts:` takes. */
import { text } from "node:stream/consumers";
import { hashPassword } from "../directory/password.ts";
import type { Command } from "./command.ts";

export const command: Command = {
  name: "hash",
  summary: "hash a password for the configuration",
  help: "Usage: printf %s 'the password' | postern hash\n\nPrints $scrypt$… for accounts[].password.",
  async run(_argv, io) {
    const password = (await text(process.stdin)).replace(/\r?\n$/, "");
    if (password === "") {
      io.err("postern hash: no password on standard input\n");
      return 2;
    }
    io.out(`${await hashPassword(password)}\n`);
    return 0;
  },
};
