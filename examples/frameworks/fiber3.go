package frameworks

import (
	"encoding/json"
	"log"

	"github.com/gofiber/fiber/v3"
)

// Fiber3 takes POST /phone with fiber v3.
func Fiber3(b *Backend) *fiber.App {
	app := fiber.New(fiber.Config{BodyLimit: maxBody}) // of all routes
	app.Post("/phone", func(c fiber.Ctx) error {
		var body tap
		if err := json.Unmarshal(c.BodyRaw(), &body); err != nil {
			return fiber.NewError(fiber.StatusBadRequest, `send {"code": "..."}`)
		}
		phone, err := b.redeem(c.Context(), body.Code) // neither c nor c.RequestCtx()
		if err != nil {
			log.Print(err)
			status, step := reply(err)
			return c.Status(status).JSON(step)
		}
		return c.JSON(fiber.Map{"phone": phone.String()}) // masked
	})
	return app
}
