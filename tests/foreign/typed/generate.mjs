// Generates types and typed documents from a schema: generate.mjs SCHEMA_FILE DOCUMENTS_FILE OUT_FILE
// Every field of the schema's roots must be in one of the documents.
import { readFileSync, writeFileSync } from "node:fs";
import { codegen } from "@graphql-codegen/core";
import * as typedDocumentNode from "@graphql-codegen/typed-document-node";
import * as typescript from "@graphql-codegen/typescript";
import * as typescriptOperations from "@graphql-codegen/typescript-operations";
import { buildASTSchema, parse } from "graphql";

const [schemaFile, documentsFile, filename] = process.argv.slice(2);
const read = (file) => parse(readFileSync(file, "utf8"));
const [schema, document] = [read(schemaFile), read(documentsFile)];

const built = buildASTSchema(schema);
const roots = { query: built.getQueryType(), mutation: built.getMutationType(), subscription: built.getSubscriptionType() };
const unused = Object.entries(roots).flatMap(([operation, root]) => {
  const documents = document.definitions.filter((definition) => definition.operation === operation);
  const used = documents.flatMap((definition) => definition.selectionSet.selections.map(({ name }) => name.value));
  return Object.keys(root.getFields()).filter((field) => !used.includes(field));
});
if (unused.length > 0) {
  console.error(`in no document: ${unused.join(", ")}`);
  process.exit(1);
}

const generated = await codegen({
  filename,
  schema,
  documents: [{ location: documentsFile, document }],
  config: { strictScalars: true, scalars: { DateTime: "string", JSON: "unknown" }, useTypeImports: true, enumsAsTypes: true },
  plugins: [{ typescript: {} }, { typescriptOperations: {} }, { typedDocumentNode: {} }],
  pluginMap: { typescript, typescriptOperations, typedDocumentNode },
});
writeFileSync(filename, generated);
