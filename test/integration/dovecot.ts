/**
 * Dovecot as a back end: its LMTP server, and its password check for a Postfix in front of it. Ends with the test.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePort, peer, type Scope, scratch, start } from "./daemons.ts";

export interface Dovecot {
  /** Of its LMTP server on 127.0.0.1. */
  port: number;
  /** Of its SASL server on 127.0.0.1. */
  authPort: number;
  /** New messages of a user. */
  mail(user: string): string[];
  log(): string;
}

/** @param users addresses; each has the password "secret". Undefined when Dovecot is not there, and the test skipped. */
export async function startDovecot(t: Scope, users: readonly string[]): Promise<Dovecot | undefined> {
  const dovecot = peer(t, "dovecot");
  if (dovecot === undefined) return undefined;
  const folder = scratch(t);
  execFileSync("/bin/chmod", ["755", folder]);
  mkdirSync(join(folder, "mail"));
  execFileSync("/bin/chown", ["-R", "nobody:nogroup", join(folder, "mail")]);
  const lines = users.map((user) => `${user}:{PLAIN}secret::::::\n`);
  writeFileSync(join(folder, "users"), lines.join(""), { mode: 0o644 });
  const [port, authPort] = [await freePort(), await freePort()];
  writeFileSync(
    join(folder, "dovecot.conf"),
    `protocols = lmtp
listen = 127.0.0.1
base_dir = ${folder}/run
state_dir = ${folder}/state
log_path = ${folder}/log
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
mail_location = maildir:${folder}/mail/%u
postmaster_address = postmaster@local.test
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
passdb {
  driver = passwd-file
  args = ${folder}/users
}
userdb {
  driver = passwd-file
  args = ${folder}/users
  override_fields = uid=nobody gid=nogroup home=${folder}/mail/%u
}
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = ${port}
  }
}
service auth {
  inet_listener {
    address = 127.0.0.1
    port = ${authPort}
  }
}
service stats {
  client_limit = 100
}
`,
  );
  await start(t, dovecot, ["-F", "-c", join(folder, "dovecot.conf")], port);
  return {
    port,
    authPort,
    mail: (user) => {
      const box = join(folder, "mail", user, "new");
      return existsSync(box) ? readdirSync(box).map((name) => readFileSync(join(box, name), "latin1")) : [];
    },
    log: () => readFileSync(join(folder, "log"), "utf8"),
  };
}
