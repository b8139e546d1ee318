import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts"],
    exclude: ["tests/platform/**", "**/node_modules/**"],
    testTimeout: 60_000,
    // The default leaves a core idle, which is half of a machine of two.
    maxWorkers: "100%",
    reporters: ["default", "./tests/support/closingLine.ts"],
  },
});
