/** All shipped extensions, in the order of docs/reference/sieve.md. */
import { type Extension, Registry } from "../registry.ts";
import { base } from "./base.ts";
import { body } from "./body.ts";
import { asciiNumeric, unicodeCasemap } from "./comparators.ts";
import { copy } from "./copy.ts";
import { date } from "./date.ts";
import { duplicate } from "./duplicate.ts";
import { editheader } from "./editheader.ts";
import { encodedCharacter } from "./encoded-character.ts";
import { enotify } from "./enotify.ts";
import { envelope, envelopeDeliverBy, envelopeDsn } from "./envelope.ts";
import { environment } from "./environment.ts";
import { extlists } from "./extlists.ts";
import { extracttext } from "./extracttext.ts";
import { fcc } from "./fcc.ts";
import { index } from "./field-index.ts";
import { fileinto } from "./fileinto.ts";
import { foreverypart } from "./foreverypart.ts";
import { ihave } from "./ihave.ts";
import { imap4flags } from "./imap4flags.ts";
import { include } from "./include.ts";
import { mailbox, mboxMetadata, serverMetadata, specialUse } from "./mailbox.ts";
import { mime } from "./mime.ts";
import { redirectDeliverBy, redirectDsn } from "./redirect.ts";
import { regex } from "./regex.ts";
import { ereject, reject } from "./reject.ts";
import { relational } from "./relational.ts";
import { enclose, replace } from "./replace.ts";
import { spamtest, spamtestplus, virustest } from "./spamtest.ts";
import { subaddress } from "./subaddress.ts";
import { vacation, vacationSeconds } from "./vacation.ts";
import { variables } from "./variables.ts";
import { debug, report, vendorEnvironment } from "./vendor.ts";

export const extensions: readonly Extension[] = [
  base,
  fileinto,
  envelope,
  encodedCharacter,
  asciiNumeric,
  unicodeCasemap,
  copy,
  body,
  environment,
  variables,
  relational,
  subaddress,
  spamtest,
  spamtestplus,
  virustest,
  date,
  index,
  editheader,
  reject,
  ereject,
  foreverypart,
  mime,
  extracttext,
  replace,
  enclose,
  extlists,
  include,
  regex,
  vacation,
  vacationSeconds,
  fcc,
  enotify,
  ihave,
  duplicate,
  imap4flags,
  envelopeDsn,
  envelopeDeliverBy,
  redirectDsn,
  redirectDeliverBy,
  mailbox,
  specialUse,
  mboxMetadata,
  serverMetadata,
  debug,
  vendorEnvironment,
  report,
];

export const registry = new Registry(extensions);
