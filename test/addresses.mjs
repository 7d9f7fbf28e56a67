// Writes the cases of public test sets as CSV: set, id, function, given, country, wanted.
//
//   node test/addresses.mjs <directory with the unpacked packages>
//
// Of an email address the sets say whether it is one (wanted: accepted or refused), of a phone
// number what it is in E.164 (nothing: not valid).
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { runInNewContext } from 'node:vm';

const dir = process.argv[2];
const rows = [];
const add = (set, id, fn, given, country, wanted) => rows.push([set, id, fn, given, country, wanted]);

// is_email's tests, by Dominic Sayers, in the package email-addresses. Controls are written as
// their pictures (U+2400 and on). A text holds no NUL: U+0001 stands for it, as in an import.
const xml = readFileSync(`${dir}/email-addresses/test/tests.xml`, 'utf8');
const entities = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
const text = (s) => s
  .replace(/&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi, (all, hex, dec, name) =>
    name ? entities[name] : String.fromCodePoint(hex ? parseInt(hex, 16) : Number(dec)))
  .replace(/[\u2400-\u241F]/g, (c) => String.fromCharCode(Math.max(1, c.charCodeAt(0) - 0x2400)));
// up to and with RFC5321 is what the author calls valid for SMTP
const smtp = ['ISEMAIL_VALID_CATEGORY', 'ISEMAIL_DNSWARN', 'ISEMAIL_RFC5321'];
for (const [, id, body] of xml.matchAll(/<test id="(\d+)">([\s\S]*?)<\/test>/g)) {
  const address = body.match(/<address>([\s\S]*?)<\/address>/)?.[1] ?? '';
  const category = body.match(/<category>(\w+)<\/category>/)[1];
  add('is_email', id, 'email', text(address), null, smtp.includes(category) ? 'accepted' : 'refused');
}

// email-validator's tests: four lists at the top of its test.js
const source = readFileSync(`${dir}/email-validator/test.js`, 'utf8');
const lists = runInNewContext(`${source}; ({ validSupported, validUnsupported, invalidSupported })`,
  { require: () => ({}), describe: () => {}, it: () => {} });
for (const [name, list] of Object.entries(lists)) {
  list.forEach((address, i) =>
    add('email-validator', `${name} ${i + 1}`, 'email', address, null, name.startsWith('valid') ? 'accepted' : 'refused'));
}

// libphonenumber's example numbers
const { PhoneNumberUtil, PhoneNumberFormat, PhoneNumberType } =
  createRequire(import.meta.url)(`${dir}/google-libphonenumber`);
const util = PhoneNumberUtil.getInstance();
const read = (given, region) => {
  try {
    const n = util.parse(given, region);
    return util.isValidNumber(n) ? util.format(n, PhoneNumberFormat.E164) : null;
  } catch {
    return null;
  }
};
const everywhere = (id, n) => {
  const e164 = util.format(n, PhoneNumberFormat.E164);
  const international = util.format(n, PhoneNumberFormat.INTERNATIONAL);
  const wanted = util.isValidNumber(n) ? e164 : null;
  add('libphonenumber', `${id} international`, 'phone', international, null, wanted);
  add('libphonenumber', `${id} elsewhere`, 'phone', international, id.startsWith('US') ? 'CH' : 'US', wanted);
  add('libphonenumber', `${id} 00`, 'phone', international.replace('+', '00'), null, wanted);
  add('libphonenumber', `${id} E.164`, 'phone', e164, null, wanted);
  add('libphonenumber', `${id} URL`, 'phone', util.format(n, PhoneNumberFormat.RFC3966), null, wanted);
  // one digit less or more: what the package itself says of it
  for (const [form, given] of [['shorter', e164.slice(0, -1)], ['longer', `${e164}0`]]) {
    add('libphonenumber', `${id} ${form}`, 'phone', given, null, read(given, 'ZZ'));
  }
};
for (const region of util.getSupportedRegions().sort()) {
  for (const [name, type] of Object.entries(PhoneNumberType)) {
    if (type < 0 || type === PhoneNumberType.FIXED_LINE_OR_MOBILE) continue;
    const n = util.getExampleNumberForType(region, type);
    if (!n) continue;
    const id = `${region} ${name}`;
    const national = util.format(n, PhoneNumberFormat.NATIONAL);
    add('libphonenumber', `${id} national`, 'phone', national, region, read(national, region));
    add('libphonenumber', `${id} small`, 'phone', national, region.toLowerCase(), read(national, region));
    add('libphonenumber', `${id} nowhere`, 'phone', national, null, read(national, 'ZZ'));
    everywhere(id, n);
  }
}
for (const code of util.getSupportedGlobalNetworkCallingCodes()) {
  const n = util.getExampleNumberForNonGeoEntity(code);
  if (n) everywhere(`${code} WORLD`, n);
}

const quote = (v) => (v === null ? '' : `"${String(v).replaceAll('"', '""')}"`);
process.stdout.write(rows.map((row) => `${row.map(quote).join(',')}\n`).join(''));
