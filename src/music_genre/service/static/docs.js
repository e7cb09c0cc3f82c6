// The API's documentation, drawn by the Swagger UI that BentoML serves: nothing comes from elsewhere.

SwaggerUIBundle({ url: "openapi.json", dom_id: "#api", validatorUrl: null });
