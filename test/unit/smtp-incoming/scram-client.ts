/** The client's side of SCRAM-SHA-256, to try ours with. */
import assert from "node:assert/strict";
import { createHash, createHmac, pbkdf2Sync, randomBytes } from "node:crypto";
import type { Client } from "./site.ts";

const b64 = (data: string | Buffer): string => Buffer.from(data).toString("base64");
const unb64 = (reply: string): string => Buffer.from(reply.slice(4), "base64").toString();

/** A SCRAM client by RFC 5802 §3, written against the text; answers the last reply. */
export async function scram(
  client: Client,
  mechanism: string,
  user: string,
  password: string,
  gs2: string,
  binding: Buffer,
): Promise<string> {
  const nonce = randomBytes(12).toString("base64");
  const bare = `n=${user},r=${nonce}`;
  const challenge = await client.ask(`AUTH ${mechanism} ${b64(gs2 + bare)}`);
  if (!challenge.startsWith("334")) return challenge;
  const serverFirst = unb64(challenge);
  const [, r = "", s = "", i = ""] = /^r=([^,]+),s=([^,]+),i=(\d+)$/.exec(serverFirst) ?? [];
  assert.ok(r.startsWith(nonce) && r.length > nonce.length);
  const salted = pbkdf2Sync(password, Buffer.from(s, "base64"), Number(i), 32, "sha256");
  const mac = (key: Buffer, text: string): Buffer => createHmac("sha256", key).update(text).digest();
  const clientKey = mac(salted, "Client Key");
  const withoutProof = `c=${b64(Buffer.concat([Buffer.from(gs2), binding]))},r=${r}`;
  const message = `${bare},${serverFirst},${withoutProof}`;
  const signature = mac(createHash("sha256").update(clientKey).digest(), message);
  const proof = Buffer.from(clientKey.map((octet, at) => octet ^ signature[at]!));
  const final = await client.ask(b64(`${withoutProof},p=${proof.toString("base64")}`));
  if (!final.startsWith("334")) return final;
  assert.equal(unb64(final), `v=${mac(mac(salted, "Server Key"), message).toString("base64")}`);
  return await client.ask("");
}
