/** typedoc plugin: the error class of `@throws {RangeError} …`, which the Markdown theme leaves out, back into its text. */
import { Converter } from "typedoc";

export function load(app) {
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const { comment } of Object.values(project.reflections)) {
      for (const { tag, typeAnnotation, content } of comment?.blockTags ?? []) {
        if (tag !== "@throws" || !typeAnnotation) continue;
        const classes = typeAnnotation.replace(/[{}]/g, "").split("|").map((name) => `\`${name.trim()}\``);
        content.unshift({ kind: "text", text: `${classes.join(" or ")}: ` });
      }
    }
  });
}
