import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts"],
    exclude: ["tests/platform/**", "**/node_modules/**"],
    testTimeout: 60_000,
    reporters: ["default", "./tests/support/closingLine.ts"],
  },
});
