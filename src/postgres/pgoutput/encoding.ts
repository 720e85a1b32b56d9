import { isAscii, isUtf8 } from 'node:buffer';

/** `server_encoding` names to the labels of the WHATWG Encoding Standard, where both mean the same characters. */
const LABELS: Readonly<Record<string, string>> = {
  LATIN2: 'iso-8859-2',
  LATIN3: 'iso-8859-3',
  LATIN4: 'iso-8859-4',
  LATIN6: 'iso-8859-10',
  LATIN7: 'iso-8859-13',
  LATIN8: 'iso-8859-14',
  LATIN9: 'iso-8859-15',
  LATIN10: 'iso-8859-16',
  ISO_8859_5: 'iso-8859-5',
  ISO_8859_6: 'iso-8859-6',
  ISO_8859_7: 'iso-8859-7',
  ISO_8859_8: 'iso-8859-8',
  WIN1250: 'windows-1250',
  WIN1251: 'windows-1251',
  WIN1252: 'windows-1252',
  WIN1253: 'windows-1253',
  WIN1254: 'windows-1254',
  LATIN5: 'windows-1254',
  WIN1255: 'windows-1255',
  WIN1256: 'windows-1256',
  WIN1257: 'windows-1257',
  WIN1258: 'windows-1258',
  WIN866: 'ibm866',
  WIN874: 'windows-874',
  KOI8R: 'koi8-r',
  KOI8U: 'koi8-u',
  EUC_JP: 'euc-jp',
  EUC_KR: 'euc-kr',
  EUC_CN: 'gbk',
};

/**
 * A decoder for text in a server's encoding (`server_encoding`), as the content of logical messages has it. It returns undefined where the bytes
 * are not text in that encoding. Encodings that JavaScript does not know (EUC_TW, MULE_INTERNAL, ...) are read as ASCII, which
 * every server encoding contains.
 */
export function textDecoderFor(serverEncoding: string): (bytes: Buffer) => string | undefined {
  if (serverEncoding === 'UTF8') return (bytes) => (isUtf8(bytes) ? bytes.toString('utf8') : undefined);
  // The WHATWG label "latin1" means windows-1252, which differs from LATIN1 in 0x80-0x9F.
  if (serverEncoding === 'LATIN1') return (bytes) => bytes.toString('latin1');
  const label = LABELS[serverEncoding];
  if (label === undefined) return (bytes) => (isAscii(bytes) ? bytes.toString('latin1') : undefined);
  const decoder = new TextDecoder(label, { fatal: true, ignoreBOM: true });
  return (bytes) => {
    try {
      return decoder.decode(bytes);
    } catch (error) {
      if (error instanceof TypeError) return undefined;
      throw error;
    }
  };
}
