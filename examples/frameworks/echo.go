package frameworks

import (
	"log"
	"net/http"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"
)

// Echo takes POST /phone with echo.
func Echo(b *Backend) *echo.Echo {
	router := echo.New()
	router.POST("/phone", func(c *echo.Context) error {
		var body tap
		if err := c.Bind(&body); err != nil {
			return err // 400, or 413 and 415
		}
		phone, err := b.redeem(c.Request().Context(), body.Code)
		if err != nil {
			log.Print(err)
			return c.JSON(reply(err))
		}
		return c.JSON(http.StatusOK, map[string]string{"phone": phone.String()}) // masked
	}, middleware.BodyLimit(maxBody))
	return router
}
