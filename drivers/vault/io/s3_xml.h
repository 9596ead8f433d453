/* The XML that object stores answer with, hostile until read: no DTD, bounded depth and length. */
#pragma once
#include "agent/base/err.h"

enum { S3_XML_TEXT_MAX = 4096 };
/* Called at the end of each element with its path from the root ("Error/Code") and the text
 * directly in it. False ends the reading. */
typedef bool s3_xml_fn(void *arg, const char *path, const char *text, struct err *err);
/* IO when it is no such XML. */
bool s3_xml_read(const char *bytes, size_t len, s3_xml_fn *fn, void *arg, struct err *err) MUST;
