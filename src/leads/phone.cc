/*
 * phone.cc
 *		A phone number in E.164, by libphonenumber.
 *
 * This is a library of its own, so that only backends that read a phone number
 * load libphonenumber and what it brings.
 *
 * PostgreSQL's errors are long jumps, which must not pass C++ objects, and
 * C++'s exceptions must not pass PostgreSQL.  So read_number() is C++ alone:
 * plain buffers in and out, nothing thrown; and around it is C alone.
 */
#include <new>
#include <string>

#include <phonenumbers/phonenumberutil.h>

/* after the library's headers: PostgreSQL's define words of theirs */
extern "C"
{
#include "postgres.h"
#include "access/detoast.h"
#include "access/htup_details.h"	/* from 16 on VARDATA_ANY's header */
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
}

#define MAX_NUMBER 64			/* octets; more is no phone number */
#define E164_SIZE 24			/* + and 15 digits; the library knows a few of 17 */

typedef enum ReadStatus
{
	READ_OK,
	READ_NO_NUMBER,
	READ_NO_MEMORY,
	READ_FAILED
} ReadStatus;

/*
 * read_in reads by the rules of a region, or of a number that names its country
 * code itself merely how the region writes that.
 */
static bool
read_in(const std::string &number, const char *region, bool international_only,
		char *e164)
{
	using i18n::phonenumbers::PhoneNumber;
	using i18n::phonenumbers::PhoneNumberUtil;

	const PhoneNumberUtil *util = PhoneNumberUtil::GetInstance();
	PhoneNumber parsed;
	std::string text;

	/*
	 * Keeping the input tells where the country code came from.  Text with
	 * control characters other than white space the library does not read.
	 */
	if (util->ParseAndKeepRawInput(number, region, &parsed) !=
		PhoneNumberUtil::NO_PARSING_ERROR)
		return false;
	if (international_only &&
		parsed.country_code_source() != PhoneNumber::FROM_NUMBER_WITH_PLUS_SIGN &&
		parsed.country_code_source() != PhoneNumber::FROM_NUMBER_WITH_IDD)
		return false;
	if (!util->IsValidNumber(parsed))
		return false;
	/* an extension is not part of it: nothing can be sent there */
	util->Format(parsed, PhoneNumberUtil::E164, &text);
	if (text.size() >= E164_SIZE)
		return false;
	memcpy(e164, text.c_str(), text.size() + 1);
	return true;
}

/*
 * read_number reads by the rules of the country, and what they do not allow as
 * an international number with + or 00 (which Switzerland, as most of the
 * world, has for +).  No national number begins with 00.  The other prefixes
 * (011, 0011, 810, ...) are some country's, and elsewhere begin national ones:
 * 011 5002 3456 is in Buenos Aires, or else in the Falklands.
 */
static ReadStatus
read_number(const char *bytes, size_t len, const char *region, char *e164) noexcept
{
	try
	{
		std::string number(bytes, len);

		if ((region[0] != '\0' && read_in(number, region, false, e164)) ||
			read_in(number, "CH", true, e164))
			return READ_OK;
		return READ_NO_NUMBER;
	}
	catch (const std::bad_alloc &)
	{
		return READ_NO_MEMORY;
	}
	catch (...)
	{
		return READ_FAILED;
	}
}

extern "C"
{
PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(leads_phone_normalise);

/* leads_phone_normalise(number text, country text) returns text */
Datum
leads_phone_normalise(PG_FUNCTION_ARGS)
{
	text	   *number;
	char	   *utf8;
	int			len;
	char		region[3] = "";
	char		e164[E164_SIZE];

	if (PG_ARGISNULL(0) ||
		toast_raw_datum_size(PG_GETARG_DATUM(0)) - VARHDRSZ > MAX_NUMBER)
		PG_RETURN_NULL();
	number = PG_GETARG_TEXT_PP(0);
	len = VARSIZE_ANY_EXHDR(number);

	/* what is no country's code reads as none: + and 00 need none */
	if (!PG_ARGISNULL(1) &&
		toast_raw_datum_size(PG_GETARG_DATUM(1)) - VARHDRSZ == 2)
	{
		text	   *country = PG_GETARG_TEXT_PP(1);

		region[0] = pg_toupper(VARDATA_ANY(country)[0]);
		region[1] = pg_toupper(VARDATA_ANY(country)[1]);
		if (region[0] < 'A' || region[0] > 'Z' ||
			region[1] < 'A' || region[1] > 'Z')
			region[0] = '\0';
	}

	/* it gives its argument back where there is nothing to convert */
	utf8 = pg_server_to_any(VARDATA_ANY(number), len, PG_UTF8);
	if (utf8 != VARDATA_ANY(number))
		len = strlen(utf8);

	switch (read_number(utf8, len, region, e164))
	{
		case READ_OK:
			PG_RETURN_TEXT_P(cstring_to_text(e164));
		case READ_NO_NUMBER:
			break;
		case READ_NO_MEMORY:
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("out of memory"),
					 errdetail("libphonenumber could not read a number.")));
			break;
		case READ_FAILED:
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("libphonenumber failed")));
			break;
	}
	PG_RETURN_NULL();
}
}
